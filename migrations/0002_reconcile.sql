-- What the reconciler and operators need beside the orders.

-- How many calls in a row had an unknown outcome, and how many of them failed in the same way.
alter table orders
    add column unknown_count integer not null default 0,
    add column same_failure_count integer not null default 0;

-- Every call to WeChat about an order, without secrets; removed after 30 days.
create table gateway_calls (
    id bigint generated always as identity primary key,
    mch_id text not null,
    out_trade_no text not null,
    api text not null,
    verdict text not null,
    detail text,
    at timestamptz not null,
    duration_ms integer not null,
    constraint gateway_calls_verdict_known check (verdict in ('yes', 'no', 'unknown'))
);

create index gateway_calls_order on gateway_calls (mch_id, out_trade_no, at);
create index gateway_calls_at on gateway_calls (at);

-- When the broker confirmed an event for the first time.
create table event_confirms (
    event_id uuid primary key,
    confirmed_at timestamptz not null default now()
);

-- What operators did, and why.
create table operator_actions (
    id bigint generated always as identity primary key,
    at timestamptz not null default now(),
    operator text not null,
    verb text not null,
    subject text not null,
    reason text
);

-- How often the exception was found. Only bad_signature is counted: anyone can send such
-- notifications, so they share one row per merchant and hour (out_trade_no '-', transaction_id the
-- hour).
alter table exceptions add column found_count bigint not null default 1;

-- The oldest open order by state: the most important metric.
create index orders_unsettled on orders (state, created_at)
    where state in ('created', 'payable', 'closing');

-- Stored events are sent again by their time. Both tables grow in that order, so a small BRIN index
-- is enough.
create index order_transitions_at on order_transitions using brin (at) with (autosummarize = on);
create index rejections_at on rejections using brin (at) with (autosummarize = on);
