-- The workers that run. Each writes its row every few seconds, and those that have done so within
-- ten seconds share the rates of the calls to WeChat. The row of a worker that died stays for a
-- minute.
create table workers (
    id uuid primary key,
    seen_at timestamptz not null,
    rates jsonb not null                  -- calls a second that it makes at most, by mch_id
);
