//! Publishes the events in the outbox, and removes them once the broker has confirmed.
//!
//! A writer passes its events to the relay right after the commit. The sweep takes the events that
//! are still unconfirmed: the writer died, the broker was away, or the channel was full.

use std::time::Duration;

use broker::{Connection, Message, Publisher};
use bytes::Bytes;
use futures_util::future::join_all;
use service::metrics::names;
use service::traceparent::TRACEPARENT;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info_span};
use uuid::Uuid;

use crate::failpoint;
use crate::store::{Due, OutboxReceiver, Outgoing, Store};

/// Events whose confirms are awaited together.
const BATCH_MAX: usize = 256;
/// After this a confirm is unknown, and the sweep publishes the event again under the same id.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(5);
/// With the two seconds that the sweep leaves to the writer, the longest wait of an event whose
/// writer has died.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

pub(crate) struct Relay {
    store: Store,
    connection: Connection,
    publisher: Publisher,
}

impl Relay {
    pub(crate) fn new(store: Store, connection: Connection, publisher: Publisher) -> Self {
        Self { store, connection, publisher }
    }

    /// Publishes until `stop`, then drains the channel.
    pub(crate) async fn run(self, mut committed: OutboxReceiver, stop: CancellationToken) {
        let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(BATCH_MAX);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = committed.recv_many(&mut batch, BATCH_MAX) => {}
                _ = sweep.tick() => self.sweep().await,
            }
            self.publish(batch.drain(..).map(committed_event).collect()).await;
        }
        committed.close();
        while committed.recv_many(&mut batch, BATCH_MAX).await > 0 {
            self.publish(batch.drain(..).map(committed_event).collect()).await;
        }
    }

    async fn sweep(&self) {
        self.measure().await;
        // Without the broker, rows taken over here could only delay other workers.
        while self.connection.is_up() {
            let due = match self.store.take_due(BATCH_MAX as i64).await {
                Ok(due) => due,
                Err(error) => {
                    tracing::warn!(%error, "the outbox could not be swept; it is tried again");
                    return;
                }
            };
            if due.is_empty() {
                return;
            }
            if !self.publish(due.into_iter().map(due_event).collect()).await {
                return;
            }
        }
    }

    /// Publishes in order and removes what is confirmed. Returns whether everything is.
    async fn publish(&self, events: Vec<Message>) -> bool {
        if events.is_empty() {
            return true;
        }
        let span = info_span!("publish", count = events.len());
        self.publish_and_remove(events).instrument(span).await
    }

    async fn publish_and_remove(&self, events: Vec<Message>) -> bool {
        failpoint::reached("relay.taken");
        let count = events.len();
        let published = events.into_iter().map(|message| async {
            let id = message.message_id;
            self.publisher.publish(message, CONFIRM_TIMEOUT).await.map(|()| id)
        });
        let mut confirmed: Vec<Uuid> = Vec::with_capacity(count);
        let mut last_error = None;
        for result in join_all(published).await {
            match result {
                Ok(id) => confirmed.push(id),
                Err(error) => last_error = Some(error),
            }
        }
        failpoint::reached("relay.confirmed");
        metrics::counter!(names::EVENTS_PUBLISHED).increment(confirmed.len() as u64);
        if let Some(error) = last_error {
            let unconfirmed = count - confirmed.len();
            tracing::warn!(%error, unconfirmed, "events stay in the outbox until the next sweep");
        }
        if let Err(error) = self.store.remove_confirmed(&confirmed).await {
            tracing::warn!(%error, "confirmed events stay in the outbox and are published again");
        }
        confirmed.len() == count
    }

    async fn measure(&self) {
        if let Ok(depth) = self.store.outbox_depth().await {
            metrics::gauge!(names::OUTBOX_PENDING).set(depth.pending as f64);
            metrics::gauge!(names::OUTBOX_OLDEST_SECONDS).set(depth.oldest_seconds);
        }
    }
}

fn committed_event(Outgoing { event, traceparent }: Outgoing) -> Message {
    let body = Bytes::from(event.body);
    let message = Message::event(event.id, event.kind.to_owned(), event.mch_id.as_str(), body);
    with_traceparent(message, traceparent)
}

fn due_event(due: Due) -> Message {
    let message = Message::event(due.id, due.kind, due.mch_id.as_str(), Bytes::from(due.body));
    with_traceparent(message, due.traceparent)
}

fn with_traceparent(message: Message, traceparent: Option<String>) -> Message {
    match traceparent {
        Some(traceparent) => message.with_header(TRACEPARENT, traceparent),
        None => message,
    }
}
