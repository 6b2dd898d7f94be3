-- How often an event was published without a confirm: the pause before the next attempt grows with
-- it. Events that an operator sends again come after all others.
alter table outbox
    add column attempts integer not null default 0,
    add column is_replay boolean not null default false;

-- Due events are taken merchant by merchant: a sweep does not scan the many events of a merchant
-- whose queue takes none.
create index outbox_due_by_merchant on outbox (mch_id, is_replay, next_attempt_at);
drop index outbox_due;

create index outbox_unconfirmed on outbox (mch_id) where attempts > 0;
