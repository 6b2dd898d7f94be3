-- When unifiedorder was to be called for the first time; null: never. WeChat cannot know such an order,
-- so it is called without a query before. It is set together with the call lease.
alter table orders add column called_at timestamptz default now();
alter table orders alter column called_at drop default;

-- Orders that wait for their first call because their merchant's lane was full, the oldest first.
create index orders_never_called on orders (mch_id, created_at)
    where state = 'created' and called_at is null;
