-- Orders that are due are claimed merchant by merchant, so that the many of one whose calls pause
-- are not walked over each time on the way to another's.
create index orders_due_by_merchant on orders (mch_id, next_check_at)
    where next_check_at is not null;
drop index orders_next_check_at;
