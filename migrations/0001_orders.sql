-- Orders, their history, notifications as evidence, exceptions, and events to publish. The checks
-- repeat the invariants of the code's types; their names become typed errors.

create table orders (
    mch_id text not null,
    out_trade_no text not null,
    appid text not null,
    trade_type text not null,
    total_fee bigint not null,            -- fen
    sign_type text not null,              -- of every message about this order
    request jsonb not null,               -- the order as the shop sent it
    time_expire timestamptz not null,
    parameters jsonb not null,            -- of the first unifiedorder; repetitions send the same
    state text not null,
    seq integer not null,
    prepay_id text,
    code_url text,
    mweb_url text,
    prepay_issued_at timestamptz,
    transaction_id text,
    time_end timestamptz,
    cash_fee bigint,                      -- fen
    payment jsonb,
    closing_since timestamptz,
    closed_at timestamptz,
    err_code text,
    err_code_des text,
    gateway_message text,
    call_lease_holder uuid,               -- the call that may be in progress
    call_lease_until timestamptz,
    next_check_at timestamptz,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    primary key (mch_id, out_trade_no),
    constraint orders_state_known
        check (state in ('created', 'payable', 'paid', 'closing', 'closed', 'failed')),
    constraint orders_seq_positive check (seq >= 1),
    constraint orders_total_fee_positive check (total_fee between 1 and 9007199254740991),
    constraint orders_sign_type_known check (sign_type in ('MD5', 'HMAC-SHA256')),
    constraint orders_payable_has_prepay
        check ((state = 'payable') = (prepay_id is not null and prepay_issued_at is not null)),
    constraint orders_paid_has_payment
        check ((state = 'paid')
            = (transaction_id is not null and time_end is not null and payment is not null)),
    constraint orders_closing_has_since check ((state = 'closing') = (closing_since is not null)),
    constraint orders_closed_has_at check ((state = 'closed') = (closed_at is not null)),
    constraint orders_failed_has_code check ((state = 'failed') = (err_code is not null)),
    constraint orders_lease_is_whole
        check ((call_lease_holder is null) = (call_lease_until is null))
) with (fillfactor = 80);

-- A WeChat transaction pays one order.
create unique index orders_transaction_id on orders (transaction_id)
    where transaction_id is not null;
create index orders_next_check_at on orders (next_check_at) where next_check_at is not null;

create table order_transitions (
    mch_id text not null,
    out_trade_no text not null,
    seq integer not null,
    from_state text,
    to_state text not null,
    fact jsonb not null,
    source text not null,
    at timestamptz not null,
    event_id uuid not null,
    event_body text not null,             -- the bytes of every publication
    primary key (mch_id, out_trade_no, seq),
    foreign key (mch_id, out_trade_no) references orders,
    constraint order_transitions_seq_positive check (seq >= 1),
    constraint order_transitions_source_known
        check (source in ('reply', 'notify', 'query', 'shop', 'operator')),
    constraint order_transitions_allowed check (
        case when seq = 1 then from_state is null and to_state = 'created'
        else coalesce(from_state, '') || '>' || to_state in (
            'created>payable', 'created>paid', 'created>closing', 'created>closed',
            'created>failed', 'payable>paid', 'payable>closing', 'payable>closed',
            'closing>paid', 'closing>closed', 'closed>paid', 'failed>paid')
        end)
);

create function refuse_rewriting_history() returns trigger language plpgsql as $$
begin
    raise exception 'order_transitions is append-only';
end $$;

create trigger order_transitions_append_only
    before update or delete or truncate on order_transitions
    for each statement execute function refuse_rewriting_history();

-- What WeChat posted, as evidence. The digest decides whether a body is stored again, never whether
-- it takes effect.
create table notifications (
    digest bytea primary key,             -- SHA-256 of the raw body
    kind text not null,
    mch_id text not null,
    out_trade_no text,
    transaction_id text,
    raw bytea not null,
    received_at timestamptz not null,
    last_received_at timestamptz not null,
    repeats integer not null default 0,
    verdict text not null,
    detail text,
    constraint notifications_digest_is_sha256 check (octet_length(digest) = 32),
    constraint notifications_kind_known check (kind in ('payment', 'refund')),
    constraint notifications_verdict_known check (verdict in (
        'applied', 'already', 'exception', 'refused',
        'bad_signature', 'not_success', 'unreadable', 'deferred'))
);

create index notifications_order on notifications (mch_id, out_trade_no);

-- Money or identities that do not fit. transaction_id is '' where there is none.
create table exceptions (
    mch_id text not null,
    out_trade_no text not null,
    kind text not null,
    transaction_id text not null,
    differs jsonb not null,
    opened_at timestamptz not null,
    resolved_at timestamptz,
    resolution text,
    event_id uuid not null unique,
    event_body text not null,
    primary key (mch_id, out_trade_no, kind, transaction_id),
    constraint exceptions_kind_known check (kind in (
        'amount_mismatch', 'identity_mismatch', 'late_payment', 'duplicate_payment',
        'unknown_order', 'bad_signature', 'contradiction', 'unsettled')),
    constraint exceptions_resolved_with_reason
        check ((resolved_at is null) = (resolution is null))
);

create index exceptions_open on exceptions (kind, opened_at) where resolved_at is null;

-- Refused commands, by the message_id of the command, which is unique for its merchant.
create table rejections (
    message_id text not null,
    mch_id text not null,
    out_trade_no text not null,           -- as it was given: it may be invalid
    problem jsonb not null,
    at timestamptz not null,
    event_id uuid not null unique,
    event_body text not null,
    primary key (mch_id, message_id)
);

create index rejections_order on rejections (mch_id, out_trade_no, at);

-- Events that the broker has not confirmed yet. The body is in the row of the cause.
create table outbox (
    event_id uuid primary key,
    cause text not null,
    type text not null,
    mch_id text not null,
    out_trade_no text not null,
    seq integer,
    traceparent text,
    created_at timestamptz not null default now(),
    next_attempt_at timestamptz not null,
    constraint outbox_cause_known check (cause in ('transition', 'exception', 'rejection')),
    constraint outbox_transition_has_seq check ((cause = 'transition') = (seq is not null))
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

create index outbox_due on outbox (next_attempt_at);
