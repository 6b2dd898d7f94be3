//! The table `outbox`: events that the broker has not confirmed yet.

use std::time::Duration;

use orders::event::Event;
use sqlx::PgConnection;
use tokio::sync::mpsc;
use uuid::Uuid;
use wechatpay_v2::MchId;

use super::{Store, StoreError};

/// Events that wait in the channel for the relay; the others wait in the outbox for the sweep.
const CHANNEL_MAX: usize = 4096;
/// How long the worker that wrote an event has to get it confirmed before the sweep takes it.
pub(super) const WRITER_SECONDS: f64 = 5.0;
/// How long the worker whose sweep took an event has to get it confirmed.
const SWEEP_SECONDS: f64 = 10.0;
/// The pause after the first attempt without a confirm.
const PAUSE_MIN_SECONDS: f64 = 2.0;
const PAUSE_MAX_SECONDS: f64 = 600.0;
/// Half a second less than [`WRITER_SECONDS`]: after this the writer leaves an event that it has
/// not published to the sweeps.
pub(crate) const WRITER_LEASE: Duration = Duration::from_millis(4500);
/// The same for an event that a sweep took.
pub(crate) const SWEEP_LEASE: Duration = Duration::from_millis(9500);

/// Passes events to the relay once they are committed.
#[derive(Clone, Debug)]
pub(crate) struct OutboxNotifier(mpsc::Sender<Outgoing>);

/// The relay's end of [`OutboxNotifier`].
#[derive(Debug)]
pub(crate) struct OutboxReceiver(mpsc::Receiver<Outgoing>);

impl OutboxNotifier {
    /// A channel from the writers to the relay.
    #[must_use]
    pub(crate) fn channel() -> (Self, OutboxReceiver) {
        let (sender, receiver) = mpsc::channel(CHANNEL_MAX);
        (Self(sender), OutboxReceiver(receiver))
    }

    /// For a process that runs no relay: its events are left to the sweep of a worker.
    #[must_use]
    pub(crate) fn disconnected() -> Self {
        Self::channel().0
    }

    /// Never waits: the sweep finds the events that did not fit into the channel.
    pub(super) fn notify(&self, events: impl IntoIterator<Item = Outgoing>) {
        for event in events {
            let _ = self.0.try_send(event);
        }
    }
}

impl OutboxReceiver {
    pub(crate) async fn recv_many(&mut self, batch: &mut Vec<Outgoing>, limit: usize) -> usize {
        self.0.recv_many(batch, limit).await
    }

    /// Ends the channel for the writers. Events that it holds can still be received.
    pub(crate) fn close(&mut self) {
        self.0.close();
    }
}

/// An event with the trace of its cause.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) event: Event,
    pub(crate) traceparent: Option<String>,
}

/// An event to insert that belongs to no transition.
pub(super) struct OutboxRow {
    /// `-` where there is no order; as it was given where a command was rejected.
    pub(super) out_trade_no: String,
    pub(super) cause: Cause,
    pub(super) outgoing: Outgoing,
}

/// The table with the body of the event.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    Exception,
    Rejection,
}

/// An event that the sweep took over because its writer did not get it confirmed.
#[derive(Clone, Debug)]
pub(crate) struct Due {
    pub(crate) id: Uuid,
    pub(crate) kind: String,
    pub(crate) mch_id: MchId,
    pub(crate) body: String,
    pub(crate) traceparent: Option<String>,
    pub(crate) is_replay: bool,
}

/// What one sweep may take.
#[derive(Clone, Debug)]
pub(crate) struct TakeLimits {
    /// Events that an operator sends again, or all others.
    pub(crate) replays: bool,
    /// Merchants whose events stay where they are.
    pub(crate) excluded: Vec<MchId>,
    pub(crate) per_merchant: i64,
    pub(crate) events: i64,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Depth {
    /// Events that are not confirmed yet.
    pub(crate) pending: i64,
    /// The age of the oldest one.
    pub(crate) oldest_seconds: f64,
}

impl Cause {
    fn as_str(self) -> &'static str {
        match self {
            Self::Exception => "exception",
            Self::Rejection => "rejection",
        }
    }
}

/// Inserts events that belong to no transition. For [`WRITER_SECONDS`] the sweep leaves them to the
/// worker that wrote them.
pub(super) async fn insert(
    connection: &mut PgConnection,
    rows: &[OutboxRow],
) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    let events = || rows.iter().map(|row| &row.outgoing.event);
    let ids: Vec<Uuid> = events().map(|event| event.id).collect();
    let types: Vec<String> = events().map(|event| event.kind.to_owned()).collect();
    let mch_ids: Vec<String> = events().map(|event| event.mch_id.to_string()).collect();
    let causes: Vec<String> = rows.iter().map(|row| row.cause.as_str().to_owned()).collect();
    let numbers: Vec<String> = rows.iter().map(|row| row.out_trade_no.clone()).collect();
    let traces: Vec<Option<String>> =
        rows.iter().map(|row| row.outgoing.traceparent.clone()).collect();
    sqlx::query!(
        "/* insert_outbox */
        insert into outbox (event_id, cause, type, mch_id, out_trade_no, traceparent,
            next_attempt_at)
        select u.*, now() + make_interval(secs => $7)
        from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[],
            $6::text[]) as u",
        &ids,
        &causes,
        &types,
        &mch_ids,
        &numbers,
        &traces as _,
        WRITER_SECONDS,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Makes events due at once, for a process that runs no relay: the next sweep of a worker takes
/// them.
pub(super) async fn make_due(
    connection: &mut PgConnection,
    outgoing: &[Outgoing],
) -> Result<(), StoreError> {
    let ids: Vec<Uuid> = outgoing.iter().map(|outgoing| outgoing.event.id).collect();
    sqlx::query!(
        "/* make_events_due */
        update outbox set next_attempt_at = now() where event_id = any($1)",
        &ids,
    )
    .execute(connection)
    .await?;
    Ok(())
}

impl Store {
    /// Takes over events that are due, for [`SWEEP_SECONDS`]: no two workers send the same events
    /// at once, and the events of a worker that dies are due again. Of each merchant it takes at
    /// most `per_merchant`, however many of its events are due.
    pub(crate) async fn take_due(&self, limits: &TakeLimits) -> Result<Vec<Due>, StoreError> {
        let excluded: Vec<String> = limits.excluded.iter().map(MchId::to_string).collect();
        let rows = sqlx::query!(
            r#"/* take_due_events */
            with recursive merchants as (
                select min(mch_id) as mch_id from outbox
                union all
                select (select min(o.mch_id) from outbox o where o.mch_id > m.mch_id)
                from merchants m where m.mch_id is not null
            ), due as (
                select o.ctid from merchants m
                cross join lateral (
                    select ctid, next_attempt_at from outbox
                    where outbox.mch_id = m.mch_id and is_replay = $1 and next_attempt_at <= now()
                    order by next_attempt_at limit $3 for update skip locked
                ) o
                where m.mch_id is not null and m.mch_id <> all($2)
                order by o.next_attempt_at limit $4
            ), taken as (
                update outbox set next_attempt_at = now() + make_interval(secs => $5)
                where ctid = any(array(select ctid from due))
                returning outbox.*
            )
            select taken.event_id, taken.type as kind, taken.mch_id,
                coalesce(t.event_body, e.event_body, r.event_body) as "body!",
                taken.traceparent, taken.is_replay
            from taken
            left join order_transitions t on (t.mch_id, t.out_trade_no, t.seq)
                = (taken.mch_id, taken.out_trade_no, taken.seq)
            left join exceptions e on taken.cause = 'exception' and e.event_id = taken.event_id
            left join rejections r on taken.cause = 'rejection' and r.event_id = taken.event_id
            order by taken.created_at, taken.out_trade_no, taken.seq"#,
            limits.replays,
            &excluded,
            limits.per_merchant,
            limits.events,
            SWEEP_SECONDS,
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                Ok(Due {
                    id: row.event_id,
                    kind: row.kind,
                    mch_id: MchId::parse(row.mch_id)
                        .map_err(|_| StoreError::Fault("an outbox row: mch_id".to_owned()))?,
                    body: row.body,
                    traceparent: row.traceparent,
                    is_replay: row.is_replay,
                })
            })
            .collect()
    }

    /// Lets events wait that were published and are not confirmed: for 2 s after the first attempt,
    /// then twice as long each time, up to 10 min.
    pub(crate) async fn postpone(&self, ids: &[Uuid]) -> Result<(), StoreError> {
        sqlx::query!(
            "/* postpone_events */
            update outbox set attempts = attempts + 1, next_attempt_at = now()
                + make_interval(secs => least($2 * power(2, least(attempts, 30)), $3))
            where event_id = any($1)",
            ids,
            PAUSE_MIN_SECONDS,
            PAUSE_MAX_SECONDS,
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Removes events that the broker confirmed. When this fails they are sent again under the same
    /// ids.
    pub(crate) async fn remove_confirmed(&self, ids: &[Uuid]) -> Result<(), StoreError> {
        sqlx::query!(
            "/* remove_confirmed_events */
            with gone as (
                delete from outbox where event_id = any($1) returning event_id
            )
            insert into event_confirms (event_id) select event_id from gone
            on conflict do nothing",
            ids
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    pub(crate) async fn outbox_depth(&self) -> Result<Depth, StoreError> {
        let row = sqlx::query!(
            r#"/* outbox_depth */
            select count(*) as "pending!",
                coalesce(extract(epoch from now() - min(created_at)), 0)::float8 as "oldest!"
            from outbox"#
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(Depth { pending: row.pending, oldest_seconds: row.oldest })
    }
}
