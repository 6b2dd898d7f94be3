//! Sends stored events again, under the same ids and with the same bytes: they go back into the
//! outbox, and the running workers publish them.

use orders::OrderKey;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::operator_actions::{self, OperatorAction};
use super::{Store, StoreError};

/// Events of one statement.
const CHUNK_MAX: i64 = 2_000;
/// The time range of one statement where there are events, so that it stays far below its timeout.
const SLICE: Duration = Duration::minutes(1);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resent {
    /// Stored events of the order or time range.
    pub(crate) found: i64,
    /// Those of them that were not in the outbox already.
    pub(crate) queued: i64,
}

/// The events of `from..to`.
#[derive(Clone, Copy)]
struct TimeRange {
    from: OffsetDateTime,
    to: OffsetDateTime,
}

/// The position of an event in the order of time.
#[derive(Clone, Copy)]
struct Cursor {
    at: OffsetDateTime,
    id: Uuid,
}

struct Chunk {
    found: i64,
    queued: i64,
    last_at: Option<OffsetDateTime>,
    last_id: Option<Uuid>,
}

impl Store {
    /// Sends every stored event of a number again.
    pub(crate) async fn resend_order(
        &self,
        key: &OrderKey,
        action: &OperatorAction,
    ) -> Result<Resent, StoreError> {
        let mut tx = self.pool.begin().await?;
        let resent = sqlx::query_as!(
            Resent,
            r#"/* resend_events_of_order */
            with events as (
                select event_id, 'transition' as cause, event_body, mch_id, out_trade_no, seq
                from order_transitions where mch_id = $1 and out_trade_no = $2
                union all
                select event_id, 'exception', event_body, mch_id, out_trade_no, null
                from exceptions where mch_id = $1 and out_trade_no = $2
                union all
                select event_id, 'rejection', event_body, mch_id, out_trade_no, null
                from rejections where mch_id = $1 and out_trade_no = $2
            ), queued as (
                insert into outbox (event_id, cause, type, mch_id, out_trade_no, seq,
                    next_attempt_at)
                select event_id, cause, event_body::jsonb->>'type', mch_id, out_trade_no, seq, now()
                from events
                on conflict do nothing
                returning event_id
            )
            select (select count(*) from events) as "found!",
                (select count(*) from queued) as "queued!""#,
            key.mch_id.as_str(),
            key.out_trade_no.as_str(),
        )
        .fetch_one(&mut *tx)
        .await?;
        if resent.found > 0 {
            operator_actions::insert(&mut tx, action).await?;
        }
        tx.commit().await?;
        Ok(resent)
    }

    /// Sends every event again that was stored in `since..until`, in the order of time, and after all
    /// other events. When this fails, the events found so far are sent; sending them once more does no harm.
    pub(crate) async fn resend_between(
        &self,
        since: OffsetDateTime,
        until: OffsetDateTime,
        action: &OperatorAction,
    ) -> Result<Resent, StoreError> {
        self.record_action(action).await?;
        let mut resent = Resent::default();
        let mut from = since;
        let mut step = SLICE;
        while from < until {
            let range = TimeRange { from, to: from.saturating_add(step).min(until) };
            if !self.has_events(range).await? {
                // Years may be empty: over them the steps grow, and shrink again at their end.
                from = range.to;
                step = step.saturating_mul(2);
            } else if step > SLICE {
                step /= 2;
            } else {
                self.resend_range(range, &mut resent).await?;
                from = range.to;
            }
        }
        Ok(resent)
    }

    async fn resend_range(&self, range: TimeRange, resent: &mut Resent) -> Result<(), StoreError> {
        let mut after = Cursor { at: range.from, id: Uuid::nil() };
        loop {
            let chunk = self.resend_chunk(range, after).await?;
            resent.found += chunk.found;
            resent.queued += chunk.queued;
            match (chunk.last_at, chunk.last_id) {
                (Some(at), Some(id)) if chunk.found == CHUNK_MAX => after = Cursor { at, id },
                _ => return Ok(()),
            }
        }
    }

    async fn has_events(&self, range: TimeRange) -> Result<bool, StoreError> {
        let has_events = sqlx::query_scalar!(
            r#"/* are_there_events_between */
            select exists (select from order_transitions where at >= $1 and at < $2)
                or exists (select from exceptions where opened_at >= $1 and opened_at < $2)
                or exists (select from rejections where at >= $1 and at < $2) as "has_events!""#,
            range.from,
            range.to,
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(has_events)
    }

    async fn resend_chunk(&self, range: TimeRange, after: Cursor) -> Result<Chunk, StoreError> {
        let chunk = sqlx::query_as!(
            Chunk,
            r#"/* resend_events_between */
            with stored as (
                select event_id, 'transition' as cause, event_body, mch_id, out_trade_no, seq, at
                from order_transitions where at >= $1 and at < $2
                union all
                select event_id, 'exception', event_body, mch_id, out_trade_no, null, opened_at
                from exceptions where opened_at >= $1 and opened_at < $2
                union all
                select event_id, 'rejection', event_body, mch_id, out_trade_no, null, at
                from rejections where at >= $1 and at < $2
            ), events as materialized (
                select * from stored where (at, event_id) > ($3, $4)
                order by at, event_id limit $5
            ), queued as (
                insert into outbox (event_id, cause, type, mch_id, out_trade_no, seq,
                    next_attempt_at, is_replay)
                select event_id, cause, event_body::jsonb->>'type', mch_id, out_trade_no, seq,
                    now(), true
                from events
                on conflict do nothing
                returning event_id
            ), last as (
                select at, event_id from events order by at desc, event_id desc limit 1
            )
            select (select count(*) from events) as "found!",
                (select count(*) from queued) as "queued!",
                (select at from last) as last_at, (select event_id from last) as last_id"#,
            range.from,
            range.to,
            after.at,
            after.id,
            CHUNK_MAX,
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(chunk)
    }
}
