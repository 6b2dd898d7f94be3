//! From the outbox to the shops: publishes events, and removes them once the broker confirmed.
//!
//! A writer passes its events to the relay right after the commit. The sweep takes the events that
//! are still unconfirmed: the writer died, the broker was away, or the channel was full.

use std::time::Duration;

use broker::{Connection, Message, Publisher};
use bytes::Bytes;
use futures_util::future::join_all;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::failpoint;
use crate::store::{Due, OutboxReceiver, Outgoing, Store};

/// Published before their confirms are awaited together.
const BATCH_MAX: usize = 256;
/// A confirm that takes longer is unknown, and the sweep sends the event again under the same id.
const CONFIRM_WITHIN: Duration = Duration::from_secs(5);
/// How often the sweep looks, which with the two seconds that rows are left alone is what an event
/// waits at most after its writer died.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Publishes until `stop`, then drains the channel.
pub(crate) async fn run(
    store: Store,
    connection: Connection,
    publisher: Publisher,
    mut committed: OutboxReceiver,
    stop: CancellationToken,
) {
    let mut sweep = tokio::time::interval(SWEEP_EVERY);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut batch = Vec::with_capacity(BATCH_MAX);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            _ = committed.recv_many(&mut batch, BATCH_MAX) => {}
            _ = sweep.tick() => sweep_once(&store, &connection, &publisher).await,
        }
        publish(&store, &publisher, batch.drain(..).map(fresh).collect()).await;
    }
    committed.close();
    while committed.recv_many(&mut batch, BATCH_MAX).await > 0 {
        publish(&store, &publisher, batch.drain(..).map(fresh).collect()).await;
    }
}

async fn sweep_once(store: &Store, connection: &Connection, publisher: &Publisher) {
    measure(store).await;
    // Taking over what cannot be sent would only make others wait for it.
    while connection.is_up() {
        let due = match store.take_due(BATCH_MAX as i64).await {
            Ok(due) => due,
            Err(error) => {
                tracing::warn!(%error, "the outbox cannot be swept");
                return;
            }
        };
        if due.is_empty() {
            return;
        }
        if !publish(store, publisher, due.into_iter().map(swept).collect()).await {
            return;
        }
    }
}

/// Publishes in order and removes what was confirmed. Says whether all of it was.
async fn publish(store: &Store, publisher: &Publisher, events: Vec<Message>) -> bool {
    if events.is_empty() {
        return true;
    }
    failpoint::reached("relay.taken");
    let sent = events.len();
    let attempts = events.into_iter().map(|message| async move {
        let id = message.message_id;
        publisher.publish(message, CONFIRM_WITHIN).await.map(|()| id)
    });
    let mut confirmed: Vec<Uuid> = Vec::with_capacity(sent);
    let mut trouble = None;
    for outcome in join_all(attempts).await {
        match outcome {
            Ok(id) => confirmed.push(id),
            Err(error) => trouble = Some(error),
        }
    }
    failpoint::reached("relay.confirmed");
    metrics::counter!("wxpay_events_published_total").increment(confirmed.len() as u64);
    if let Some(error) = trouble {
        let left = sent - confirmed.len();
        tracing::warn!(%error, left, "events stay in the outbox until the next sweep");
    }
    if let Err(error) = store.remove_confirmed(&confirmed).await {
        tracing::warn!(%error, "confirmed events stay in the outbox and will be sent again");
    }
    confirmed.len() == sent
}

async fn measure(store: &Store) {
    if let Ok(depth) = store.outbox_depth().await {
        metrics::gauge!("wxpay_outbox_pending").set(depth.pending as f64);
        metrics::gauge!("wxpay_outbox_oldest_seconds").set(depth.oldest_seconds);
    }
}

fn fresh(Outgoing { event, traceparent }: Outgoing) -> Message {
    message(event.id, event.kind.to_owned(), event.mch_id.as_str(), event.body, traceparent)
}

fn swept(due: Due) -> Message {
    message(due.id, due.kind, due.mch_id.as_str(), due.body, due.traceparent)
}

fn message(
    id: Uuid,
    kind: String,
    mch_id: &str,
    body: String,
    traceparent: Option<String>,
) -> Message {
    let message = Message::event(id, kind, mch_id, Bytes::from(body));
    match traceparent {
        Some(traceparent) => message.with_header("traceparent", traceparent),
        None => message,
    }
}
