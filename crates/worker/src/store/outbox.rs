//! Events that wait for the broker's confirm.

use orders::event::Event;
use tokio::sync::mpsc;
use uuid::Uuid;
use wechatpay_v2::MchId;

use super::{Store, StoreError};

/// Events that wait in the channel for the relay; the others wait in the outbox for the sweep.
const CHANNEL_MAX: usize = 4096;

/// Passes events to the relay once they are committed.
#[derive(Clone, Debug)]
pub struct OutboxNotifier(mpsc::Sender<Outgoing>);

/// The relay's end of [`OutboxNotifier`].
#[derive(Debug)]
pub struct OutboxReceiver(mpsc::Receiver<Outgoing>);

impl OutboxNotifier {
    /// A channel from the writers to the relay.
    #[must_use]
    pub fn channel() -> (Self, OutboxReceiver) {
        let (sender, receiver) = mpsc::channel(CHANNEL_MAX);
        (Self(sender), OutboxReceiver(receiver))
    }

    /// For a process that runs no relay: its events are left to the sweep of a worker.
    #[must_use]
    pub fn disconnected() -> Self {
        Self::channel().0
    }

    /// Never waits: the sweep finds the events for which the channel has no room.
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

/// An event on its way to the broker.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The event.
    pub event: Event,
    /// The trace that caused it.
    pub traceparent: Option<String>,
}

/// An event that the sweep took over: its writer did not get it confirmed.
#[derive(Clone, Debug)]
pub struct Due {
    /// The same at every publication.
    pub id: Uuid,
    /// The event's type.
    pub kind: String,
    /// The merchant.
    pub mch_id: MchId,
    /// The stored bytes.
    pub body: String,
    /// The trace that caused it.
    pub traceparent: Option<String>,
}

/// How full the outbox is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Depth {
    /// Events that no confirm has removed yet.
    pub pending: i64,
    /// The age of the oldest one, in seconds.
    pub oldest_seconds: f64,
}

impl Store {
    /// Takes over events that are due, for ten seconds: whoever dies with them leaves them to the
    /// next sweep, and two workers never send the same ones at once.
    ///
    /// # Errors
    /// When the store cannot.
    pub async fn take_due(&self, limit: i64) -> Result<Vec<Due>, StoreError> {
        let rows = sqlx::query!(
            r#"/* take_due_events */
            with due as (
                select event_id from outbox where next_attempt_at <= now()
                order by next_attempt_at limit $1 for update skip locked
            ), taken as (
                update outbox set next_attempt_at = now() + interval '10 seconds'
                from due where outbox.event_id = due.event_id
                returning outbox.*
            )
            select taken.event_id, taken.type as kind, taken.mch_id,
                coalesce(t.event_body, e.event_body, r.event_body) as "body!",
                taken.traceparent
            from taken
            left join order_transitions t on (t.mch_id, t.out_trade_no, t.seq)
                = (taken.mch_id, taken.out_trade_no, taken.seq)
            left join exceptions e on taken.cause = 'exception' and e.event_id = taken.event_id
            left join rejections r on taken.cause = 'rejection' and r.event_id = taken.event_id
            order by taken.created_at, taken.out_trade_no, taken.seq"#,
            limit,
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
                })
            })
            .collect()
    }

    /// Removes events that the broker confirmed.
    ///
    /// # Errors
    /// When the store cannot; they are then sent again under the same ids.
    pub async fn remove_confirmed(&self, ids: &[Uuid]) -> Result<(), StoreError> {
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

    /// How full the outbox is.
    ///
    /// # Errors
    /// When the store cannot.
    pub async fn outbox_depth(&self) -> Result<Depth, StoreError> {
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
