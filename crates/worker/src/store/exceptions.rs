//! The table `exceptions`: what does not fit, open or resolved.

mod bad_signatures;
mod resolve;

use std::collections::{HashMap, HashSet};

use orders::{Difference, ExceptionKind, OrderKey};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::StoreError;
use super::keys::{key_columns, parse_key};
use super::outbox::{Cause, OutboxRow, Outgoing};

pub(crate) use resolve::{ExceptionId, ExceptionLine, Resolution};

/// An exception with its event.
pub(super) struct NewException {
    pub(super) key: OrderKey,
    pub(super) kind: ExceptionKind,
    pub(super) transaction_id: String,
    pub(super) differs: Vec<Difference>,
    pub(super) opened_at: OffsetDateTime,
    /// Whether the exception opens again when an operator has resolved it.
    pub(super) reopens_resolved: bool,
    pub(super) outgoing: Outgoing,
}

impl NewException {
    pub(super) fn into_outbox_row(self) -> OutboxRow {
        OutboxRow {
            out_trade_no: self.key.out_trade_no.to_string(),
            cause: Cause::Exception,
            outgoing: self.outgoing,
        }
    }
}

pub(super) struct ExistingException {
    pub(super) kind: ExceptionKind,
    pub(super) transaction_id: String,
    pub(super) opened_at: OffsetDateTime,
    pub(super) open: bool,
}

/// The exceptions of these orders, oldest first.
pub(super) async fn existing(
    connection: &mut PgConnection,
    keys: &[OrderKey],
) -> Result<HashMap<OrderKey, Vec<ExistingException>>, StoreError> {
    let mut existing: HashMap<OrderKey, Vec<ExistingException>> = HashMap::new();
    if keys.is_empty() {
        return Ok(existing);
    }
    let (mch_ids, numbers) = key_columns(keys);
    let rows = sqlx::query!(
        r#"/* existing_exceptions */
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
        let key = parse_key(row.mch_id, row.out_trade_no)?;
        existing.entry(key).or_default().push(ExistingException {
            kind,
            transaction_id: row.transaction_id,
            opened_at: row.opened_at,
            open: row.open,
        });
    }
    Ok(existing)
}

/// Opens exceptions, and opens resolved ones again where `reopens_resolved` is set. Returns the
/// event ids of the new exceptions: an exception has one event, however often it is found.
pub(super) async fn open(
    connection: &mut PgConnection,
    new: &[NewException],
) -> Result<HashSet<Uuid>, StoreError> {
    if new.is_empty() {
        return Ok(HashSet::new());
    }
    let (mch_ids, numbers) = key_columns(new.iter().map(|it| &it.key));
    let kinds: Vec<String> = new.iter().map(|it| it.kind.as_str().to_owned()).collect();
    let transactions: Vec<String> = new.iter().map(|it| it.transaction_id.clone()).collect();
    let reopens: Vec<bool> = new.iter().map(|it| it.reopens_resolved).collect();
    let differs: Vec<serde_json::Value> =
        new.iter().map(|it| serde_json::json!(it.differs)).collect();
    let at: Vec<OffsetDateTime> = new.iter().map(|it| it.opened_at).collect();
    let event_ids: Vec<Uuid> = new.iter().map(|it| it.outgoing.event.id).collect();
    let bodies: Vec<String> = new.iter().map(|it| it.outgoing.event.body.clone()).collect();
    sqlx::query!(
        "/* reopen_exceptions */
        update exceptions e set resolved_at = null, resolution = null
        from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bool[])
            as u (mch_id, out_trade_no, kind, transaction_id, reopens_resolved)
        where (e.mch_id, e.out_trade_no, e.kind, e.transaction_id)
                = (u.mch_id, u.out_trade_no, u.kind, u.transaction_id)
            and u.reopens_resolved and e.resolved_at is not null",
        &mch_ids,
        &numbers,
        &kinds,
        &transactions,
        &reopens,
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

/// Resolves `unsettled` for orders that moved: WeChat has answered.
pub(super) async fn resolve_unsettled<'a>(
    connection: &mut PgConnection,
    moved: impl Iterator<Item = &'a OrderKey>,
) -> Result<(), StoreError> {
    let (mch_ids, numbers) = key_columns(moved);
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
