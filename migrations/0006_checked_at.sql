-- When the order was last claimed for a check; null: never. A question about a payable order causes a
-- check, but not again within a few seconds.
alter table orders add column checked_at timestamptz;
