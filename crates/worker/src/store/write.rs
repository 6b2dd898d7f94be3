//! The statements of a batch: each writes any number of rows.

use std::collections::{BTreeMap, HashMap, HashSet};

use orders::{Difference, ExceptionKind, Order, OrderKey, State, StateName, Transition};
use sqlx::PgConnection;
use uuid::Uuid;
use wechatpay_v2::{MchId, OutTradeNo};

use super::row::columns;
use super::settle::{Evidence, ExistingException, NotificationStatus};
use super::{Outgoing, StoreError};

pub(super) struct WrittenTransition {
    pub(super) key: OrderKey,
    pub(super) transition: Transition,
    pub(super) outgoing: Outgoing,
}

pub(super) struct OpenedException {
    pub(super) key: OrderKey,
    pub(super) kind: ExceptionKind,
    pub(super) transaction_id: String,
    pub(super) differs: Vec<Difference>,
    pub(super) opened_at: time::OffsetDateTime,
    /// Whether it opens again when it was resolved.
    pub(super) reopens_resolved: bool,
    pub(super) outgoing: Outgoing,
}

impl WrittenTransition {
    /// From where to where; from nowhere at the birth of an order.
    pub(super) fn names(&self) -> (&'static str, &'static str) {
        (self.transition.from.map_or("none", StateName::as_str), self.transition.to.as_str())
    }
}

/// Counts moves that are committed.
pub(super) fn count_moves(moves: &[(&'static str, &'static str)]) {
    for (from, to) in moves {
        metrics::counter!("wxpay_transitions_total", "from" => *from, "to" => *to).increment(1);
    }
}

/// What an outbox row points to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    Transition(i32),
    Exception,
}

/// On which orders these transactions are booked.
pub(super) async fn booked(
    connection: &mut PgConnection,
    transactions: &[String],
) -> Result<HashMap<String, OrderKey>, StoreError> {
    if transactions.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query!(
        r#"/* booked_transactions */
        select transaction_id as "transaction_id!", mch_id, out_trade_no from orders
        where transaction_id = any($1)"#,
        transactions,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| Ok((row.transaction_id, key(row.mch_id, row.out_trade_no)?)))
        .collect()
}

/// The exceptions that stand for these orders, open or resolved.
pub(super) async fn known_exceptions(
    connection: &mut PgConnection,
    keys: &[OrderKey],
) -> Result<HashMap<OrderKey, Vec<ExistingException>>, StoreError> {
    let mut known: HashMap<OrderKey, Vec<ExistingException>> = HashMap::new();
    if keys.is_empty() {
        return Ok(known);
    }
    let (mch_ids, numbers) = columns(keys);
    let rows = sqlx::query!(
        r#"/* known_exceptions */
        select mch_id, out_trade_no, kind, transaction_id, opened_at,
            resolved_at is null as "open!"
        from exceptions
        where (mch_id, out_trade_no) in (select * from unnest($1::text[], $2::text[]))
        order by opened_at, kind, transaction_id"#,
        &mch_ids,
        &numbers,
    )
    .fetch_all(connection)
    .await?;
    for row in rows {
        let kind = ExceptionKind::parse(&row.kind)
            .ok_or_else(|| StoreError::Fault("an exception's row: kind".to_owned()))?;
        known.entry(key(row.mch_id, row.out_trade_no)?).or_default().push(ExistingException {
            kind,
            transaction_id: row.transaction_id,
            opened_at: row.opened_at,
            open: row.open,
        });
    }
    Ok(known)
}

fn key(mch_id: String, out_trade_no: String) -> Result<OrderKey, StoreError> {
    let fault = |_| StoreError::Fault("a row's key".to_owned());
    Ok(OrderKey {
        mch_id: MchId::parse(mch_id).map_err(fault)?,
        out_trade_no: OutTradeNo::parse(out_trade_no).map_err(fault)?,
    })
}

/// Writes orders as they are now, each only where it still is as it was, and gives back the call
/// leases that have ended.
pub(super) async fn orders(
    connection: &mut PgConnection,
    changed: &[(&Order, &Order, Option<Uuid>, Option<time::OffsetDateTime>)],
) -> Result<(), StoreError> {
    if changed.is_empty() {
        return Ok(());
    }
    let mut c = OrderColumns::default();
    for (before, now, release, look) in changed {
        c.push(before, now, *release);
        c.next_check_at.push(*look);
    }
    let done = sqlx::query!(
        "/* move_orders */
        update orders o set state = u.state, seq = u.seq, prepay_id = u.prepay_id,
            code_url = u.code_url, mweb_url = u.mweb_url, prepay_issued_at = u.prepay_issued_at,
            transaction_id = u.transaction_id, time_end = u.time_end, cash_fee = u.cash_fee,
            payment = u.payment, closing_since = u.closing_since, closed_at = u.closed_at,
            err_code = u.err_code, err_code_des = u.err_code_des,
            gateway_message = u.gateway_message, updated_at = u.updated_at,
            call_lease_holder = case when o.call_lease_holder = u.release then null
                else o.call_lease_holder end,
            call_lease_until = case when o.call_lease_holder = u.release then null
                else o.call_lease_until end,
            next_check_at = u.next_check_at,
            unknown_count = case when u.release is null then o.unknown_count else 0 end,
            same_failure_count = case when u.release is null then o.same_failure_count else 0 end
        from unnest($1::text[], $2::text[], $3::text[], $4::int4[], $5::text[], $6::int4[],
            $7::text[], $8::text[], $9::text[], $10::timestamptz[], $11::text[],
            $12::timestamptz[], $13::int8[], $14::jsonb[], $15::timestamptz[],
            $16::timestamptz[], $17::text[], $18::text[], $19::text[], $20::timestamptz[],
            $21::uuid[], $22::timestamptz[])
            as u (mch_id, out_trade_no, before_state, before_seq, state, seq, prepay_id, code_url,
                mweb_url, prepay_issued_at, transaction_id, time_end, cash_fee, payment,
                closing_since, closed_at, err_code, err_code_des, gateway_message, updated_at,
                release, next_check_at)
        where o.mch_id = u.mch_id and o.out_trade_no = u.out_trade_no
            and o.state = u.before_state and o.seq = u.before_seq",
        &c.mch_id,
        &c.out_trade_no,
        &c.before_state,
        &c.before_seq,
        &c.state,
        &c.seq,
        &c.prepay_id as _,
        &c.code_url as _,
        &c.mweb_url as _,
        &c.prepay_issued_at as _,
        &c.transaction_id as _,
        &c.time_end as _,
        &c.cash_fee as _,
        &c.payment as _,
        &c.closing_since as _,
        &c.closed_at as _,
        &c.err_code as _,
        &c.err_code_des as _,
        &c.gateway_message as _,
        &c.updated_at,
        &c.release as _,
        &c.next_check_at as _,
    )
    .execute(connection)
    .await?;
    if done.rows_affected() != changed.len() as u64 {
        return Err(StoreError::Conflict("state"));
    }
    Ok(())
}

type Times = Vec<Option<time::OffsetDateTime>>;
type Texts = Vec<Option<String>>;

#[derive(Default)]
struct OrderColumns {
    mch_id: Vec<String>,
    out_trade_no: Vec<String>,
    before_state: Vec<String>,
    before_seq: Vec<i32>,
    state: Vec<String>,
    seq: Vec<i32>,
    prepay_id: Texts,
    code_url: Texts,
    mweb_url: Texts,
    prepay_issued_at: Times,
    transaction_id: Texts,
    time_end: Times,
    cash_fee: Vec<Option<i64>>,
    payment: Vec<Option<serde_json::Value>>,
    closing_since: Times,
    closed_at: Times,
    err_code: Texts,
    err_code_des: Texts,
    gateway_message: Texts,
    updated_at: Vec<time::OffsetDateTime>,
    release: Vec<Option<Uuid>>,
    next_check_at: Times,
}

impl OrderColumns {
    /// A state's data stands in its own columns; those of every other state are null.
    fn push(&mut self, before: &Order, now: &Order, release: Option<Uuid>) {
        self.mch_id.push(now.request.mch_id.to_string());
        self.out_trade_no.push(now.request.out_trade_no.to_string());
        self.before_state.push(before.state.name().as_str().to_owned());
        self.before_seq.push(before.seq);
        self.state.push(now.state.name().as_str().to_owned());
        self.seq.push(now.seq);
        self.updated_at.push(now.updated_at);
        self.gateway_message.push(now.gateway_message.clone());
        self.release.push(release);

        let (prepay, issued_at) = match &now.state {
            State::Payable { prepay, issued_at } => (Some(prepay), Some(*issued_at)),
            _ => (None, None),
        };
        self.prepay_id.push(prepay.map(|prepay| prepay.prepay_id.to_string()));
        self.code_url.push(prepay.and_then(|prepay| prepay.code_url.clone()));
        self.mweb_url.push(prepay.and_then(|prepay| prepay.mweb_url.clone()));
        self.prepay_issued_at.push(issued_at);

        let payment = match &now.state {
            State::Paid(payment) => Some(payment),
            _ => None,
        };
        self.transaction_id.push(payment.map(|payment| payment.transaction_id.to_string()));
        self.time_end.push(payment.map(|payment| payment.time_end.instant()));
        self.cash_fee.push(payment.and_then(|payment| payment.cash_fee.map(|fen| fen.get())));
        self.payment.push(payment.map(|payment| serde_json::json!(payment)));

        let failure = match &now.state {
            State::Failed(failure) => Some(failure),
            _ => None,
        };
        self.err_code.push(failure.map(|failure| failure.err_code.clone()));
        self.err_code_des.push(failure.map(|failure| failure.err_code_des.clone()));
        self.closing_since.push(match now.state {
            State::Closing { since } => Some(since),
            _ => None,
        });
        self.closed_at.push(match now.state {
            State::Closed { at } => Some(at),
            _ => None,
        });
    }
}

pub(super) async fn transitions(
    connection: &mut PgConnection,
    written: &[WrittenTransition],
) -> Result<(), StoreError> {
    if written.is_empty() {
        return Ok(());
    }
    let (mch_ids, numbers) = columns(written.iter().map(|w| &w.key));
    let text = |name: &str| name.to_owned();
    let seqs: Vec<i32> = written.iter().map(|w| w.transition.seq).collect();
    let from: Texts =
        written.iter().map(|w| w.transition.from.map(|state| text(state.as_str()))).collect();
    let to: Vec<String> = written.iter().map(|w| text(w.transition.to.as_str())).collect();
    let facts: Vec<serde_json::Value> =
        written.iter().map(|w| w.transition.fact_json.clone()).collect();
    let sources: Vec<String> = written.iter().map(|w| text(w.transition.source.as_str())).collect();
    let at: Vec<time::OffsetDateTime> = written.iter().map(|w| w.transition.at).collect();
    let event_ids: Vec<Uuid> = written.iter().map(|w| w.outgoing.event.id).collect();
    let bodies: Vec<String> = written.iter().map(|w| w.outgoing.event.body.clone()).collect();
    sqlx::query!(
        "/* insert_transitions */
        insert into order_transitions (mch_id, out_trade_no, seq, from_state, to_state, fact,
            source, at, event_id, event_body)
        select * from unnest($1::text[], $2::text[], $3::int4[], $4::text[], $5::text[],
            $6::jsonb[], $7::text[], $8::timestamptz[], $9::uuid[], $10::text[])",
        &mch_ids,
        &numbers,
        &seqs,
        &from as _,
        &to,
        &facts,
        &sources,
        &at,
        &event_ids,
        &bodies,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Opens exceptions; each is told once, however often it is found. One that
/// reopens a resolved one is open again. Returns the events of those that are new.
pub(super) async fn exceptions(
    connection: &mut PgConnection,
    opened: &[OpenedException],
) -> Result<HashSet<Uuid>, StoreError> {
    if opened.is_empty() {
        return Ok(HashSet::new());
    }
    let (mch_ids, numbers) = columns(opened.iter().map(|e| &e.key));
    let kinds: Vec<String> = opened.iter().map(|e| e.kind.as_str().to_owned()).collect();
    let transactions: Vec<String> = opened.iter().map(|e| e.transaction_id.clone()).collect();
    let differs: Vec<serde_json::Value> =
        opened.iter().map(|e| serde_json::json!(e.differs)).collect();
    let at: Vec<time::OffsetDateTime> = opened.iter().map(|e| e.opened_at).collect();
    let event_ids: Vec<Uuid> = opened.iter().map(|e| e.outgoing.event.id).collect();
    let bodies: Vec<String> = opened.iter().map(|e| e.outgoing.event.body.clone()).collect();
    let insist: Vec<bool> = opened.iter().map(|e| e.reopens_resolved).collect();
    sqlx::query!(
        "/* open_exceptions_again */
        update exceptions e set resolved_at = null, resolution = null
        from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bool[])
            as u (mch_id, out_trade_no, kind, transaction_id, insists)
        where (e.mch_id, e.out_trade_no, e.kind, e.transaction_id)
                = (u.mch_id, u.out_trade_no, u.kind, u.transaction_id)
            and u.insists and e.resolved_at is not null",
        &mch_ids,
        &numbers,
        &kinds,
        &transactions,
        &insist,
    )
    .execute(&mut *connection)
    .await?;
    let rows = sqlx::query!(
        "/* open_exceptions */
        insert into exceptions (mch_id, out_trade_no, kind, transaction_id, differs, opened_at,
            event_id, event_body)
        select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::jsonb[],
            $6::timestamptz[], $7::uuid[], $8::text[])
            as u (mch_id, out_trade_no, kind, transaction_id, differs, opened_at, event_id, body)
        order by mch_id, out_trade_no, kind, transaction_id, event_id
        on conflict do nothing
        returning event_id",
        &mch_ids,
        &numbers,
        &kinds,
        &transactions,
        &differs,
        &at,
        &event_ids,
        &bodies,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| row.event_id).collect())
}

/// Resolves `unsettled` for orders that moved: WeChat has said what is true.
pub(super) async fn resolve_unsettled<'a>(
    connection: &mut PgConnection,
    moved: impl Iterator<Item = &'a OrderKey>,
) -> Result<(), StoreError> {
    let (mch_ids, numbers) = columns(moved);
    if mch_ids.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "/* resolve_unsettled */
        update exceptions set resolved_at = now(), resolution = 'the order moved'
        where (mch_id, out_trade_no) in (select * from unnest($1::text[], $2::text[]))
            and kind = 'unsettled' and resolved_at is null",
        &mch_ids,
        &numbers,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Keeps notifications as evidence, once per raw body, with the verdict of the last attempt unless
/// an earlier one is final.
pub(super) async fn notifications<'a>(
    connection: &mut PgConnection,
    evidence: impl Iterator<Item = (&'a Evidence, NotificationStatus)>,
) -> Result<(), StoreError> {
    // In the order of the digests, the same in every worker: no circle of waiting inserts.
    let mut by_digest: BTreeMap<[u8; 32], (&Evidence, NotificationStatus, i32)> = BTreeMap::new();
    for (one, verdict) in evidence {
        by_digest
            .entry(one.digest)
            .and_modify(|(_, _, repeats)| *repeats += 1)
            .or_insert((one, verdict, 0));
    }
    if by_digest.is_empty() {
        return Ok(());
    }
    let rows: Vec<&(&Evidence, NotificationStatus, i32)> = by_digest.values().collect();
    let digests: Vec<Vec<u8>> = rows.iter().map(|row| row.0.digest.to_vec()).collect();
    let kinds: Vec<String> = rows.iter().map(|row| row.0.kind.to_owned()).collect();
    let mch_ids: Vec<String> = rows.iter().map(|row| row.0.mch_id.to_string()).collect();
    let numbers: Texts = rows.iter().map(|row| row.0.out_trade_no.clone()).collect();
    let transactions: Texts = rows.iter().map(|row| row.0.transaction_id.clone()).collect();
    let raw: Vec<Vec<u8>> = rows.iter().map(|row| row.0.raw.to_vec()).collect();
    let at: Vec<time::OffsetDateTime> = rows.iter().map(|row| row.0.received_at).collect();
    let verdicts: Vec<String> = rows.iter().map(|row| row.1.as_str().to_owned()).collect();
    let repeats: Vec<i32> = rows.iter().map(|row| row.2).collect();
    let details: Texts = rows.iter().map(|row| row.0.detail.clone()).collect();
    sqlx::query!(
        "/* keep_notifications */
        insert into notifications as n (digest, kind, mch_id, out_trade_no, transaction_id, raw,
            received_at, last_received_at, repeats, verdict, detail)
        select digest, kind, mch_id, out_trade_no, transaction_id, raw, at, at, repeats, verdict,
            detail
        from unnest($1::bytea[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bytea[],
            $7::timestamptz[], $8::int4[], $9::text[], $10::text[])
            as u (digest, kind, mch_id, out_trade_no, transaction_id, raw, at, repeats, verdict,
                detail)
        order by digest
        on conflict (digest) do update set
            kind = case when n.verdict in ('applied', 'already') then n.kind else excluded.kind end,
            out_trade_no = coalesce(excluded.out_trade_no, n.out_trade_no),
            transaction_id = coalesce(excluded.transaction_id, n.transaction_id),
            repeats = n.repeats + 1 + excluded.repeats,
            last_received_at = greatest(n.last_received_at, excluded.last_received_at),
            verdict = case when n.verdict in ('applied', 'already') then n.verdict
                else excluded.verdict end,
            detail = case when n.verdict in ('applied', 'already') then n.detail
                else excluded.detail end",
        &digests,
        &kinds,
        &mch_ids,
        &numbers as _,
        &transactions as _,
        &raw,
        &at,
        &repeats,
        &verdicts,
        &details as _,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Puts events into the outbox. For two seconds they are left to whoever wrote them.
pub(super) async fn outbox(
    connection: &mut PgConnection,
    events: &[(OrderKey, Cause, Outgoing)],
) -> Result<(), StoreError> {
    if events.is_empty() {
        return Ok(());
    }
    let (mch_ids, numbers) = columns(events.iter().map(|(key, _, _)| key));
    let event = || events.iter().map(|(_, _, outgoing)| &outgoing.event);
    let ids: Vec<Uuid> = event().map(|event| event.id).collect();
    let types: Vec<String> = event().map(|event| event.kind.to_owned()).collect();
    let traces: Texts = events.iter().map(|(_, _, it)| it.traceparent.clone()).collect();
    let mut causes: Vec<String> = Vec::new();
    let mut seqs: Vec<Option<i32>> = Vec::new();
    for (_, cause, _) in events {
        let (name, seq) = match cause {
            Cause::Transition(seq) => ("transition", Some(*seq)),
            Cause::Exception => ("exception", None),
        };
        causes.push(name.to_owned());
        seqs.push(seq);
    }
    sqlx::query!(
        "/* insert_outbox */
        insert into outbox (event_id, cause, type, mch_id, out_trade_no, seq, traceparent,
            next_attempt_at)
        select u.*, now() + interval '2 seconds'
        from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::int4[],
            $7::text[]) as u",
        &ids,
        &causes,
        &types,
        &mch_ids,
        &numbers,
        &seqs as _,
        &traces as _,
    )
    .execute(connection)
    .await?;
    Ok(())
}
