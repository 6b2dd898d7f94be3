-- Due orders are claimed merchant by merchant: a claim does not scan the many orders of a merchant
-- whose calls are paused.
create index orders_due_by_merchant on orders (mch_id, next_check_at)
    where next_check_at is not null;
drop index orders_next_check_at;
