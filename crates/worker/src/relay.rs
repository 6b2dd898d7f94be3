//! Publishes the events in the outbox, and removes them once the broker has confirmed.
//!
//! A writer passes its events to the relay right after the commit. The sweep takes the events that
//! are still unconfirmed. Up to 1,024 confirms are awaited at a time, each event's on its own.
//!
//! A queue that does not confirm must delay no other merchant. So a merchant has at most 16
//! unconfirmed events on each of eight common channels. When one of them gets old, the merchant
//! lags: its further events are published on a channel of its own, again at most 16 of them, and
//! what is beyond waits in the outbox. The first event of a merchant is published there, too.

mod channels;
mod lane;
mod lanes;
mod limits;
mod results;
mod sweep;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use broker::{Connection, Message, NotSentReason, PublishError};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use service::metrics::names;
use service::traceparent::TRACEPARENT;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use wechatpay_v2::MchId;

use self::channels::{CommonChannels, OwnChannels};
use self::lane::{Path, Source, Waiting};
use self::lanes::{Lanes, Next, SweepCapacity};
use self::results::Results;
use self::sweep::Sweep;
use crate::failpoint;
use crate::store::{Due, OutboxReceiver, Outgoing, SWEEP_LEASE, Store, WRITER_LEASE};

/// Events taken from the writers in one go.
const BATCH_MAX: usize = 256;
/// A late confirm counts, so it is awaited for as long as its channel lives.
const CONFIRM_TIMEOUT: Duration = Duration::MAX;
const CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// Failures are logged together.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// The connections of the relay.
pub(crate) struct RelayConnections {
    pub(crate) common: Connection,
    /// For the channels of single merchants.
    pub(crate) own: Connection,
}

pub(crate) struct Relay {
    lanes: Lanes,
    common: CommonChannels,
    own: OwnChannels,
    published: FuturesUnordered<BoxFuture<'static, Published>>,
    results: Results,
    failures: Failures,
    sweep: Option<Sweep>,
    capacity_requests: mpsc::Receiver<oneshot::Sender<SweepCapacity>>,
    swept: mpsc::Receiver<Vec<Due>>,
    sweep_wanted: Arc<Notify>,
}

struct Published {
    mch_id: MchId,
    id: Uuid,
    result: Result<(), PublishError>,
}

/// Events without a confirm since the last log line.
struct Failures {
    count: u64,
    last: Option<PublishError>,
    logged_at: Instant,
}

impl Relay {
    pub(crate) fn new(store: Store, connections: RelayConnections) -> Self {
        let sweep_wanted = Arc::new(Notify::new());
        let (capacity, capacity_requests) = mpsc::channel(1);
        let (swept_sender, swept) = mpsc::channel(1);
        let sweep = Sweep {
            store: store.clone(),
            connections: [connections.common.clone(), connections.own.clone()],
            capacity,
            swept: swept_sender,
            wanted: Arc::clone(&sweep_wanted),
        };
        Self {
            lanes: Lanes::default(),
            common: CommonChannels::new(connections.common),
            own: OwnChannels::new(connections.own),
            published: FuturesUnordered::new(),
            results: Results::new(store),
            failures: Failures { count: 0, last: None, logged_at: Instant::now() },
            sweep: Some(sweep),
            capacity_requests,
            swept,
            sweep_wanted,
        }
    }

    /// Publishes until `stop`, then drains: everything committed is published, but for the events
    /// of lagging merchants.
    pub(crate) async fn run(mut self, mut written: OutboxReceiver, stop: CancellationToken) {
        if let Some(sweep) = self.sweep.take() {
            tokio::spawn(sweep.run(stop.clone()));
        }
        let mut check = tokio::time::interval(CHECK_INTERVAL);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(BATCH_MAX);
        let mut is_ended = false;
        let mut is_stopping = false;
        while !(is_ended && self.is_drained()) {
            self.publish_next();
            self.results.write();
            tokio::select! {
                () = stop.cancelled(), if !is_stopping => {
                    is_stopping = true;
                    written.close();
                    self.lanes.clear_replays();
                }
                count = written.recv_many(&mut batch, BATCH_MAX), if !is_ended => {
                    is_ended = count == 0;
                    self.take_written(&mut batch);
                }
                Some(due) = self.swept.recv(), if !is_stopping => self.take_swept(due),
                Some(answer) = self.capacity_requests.recv(), if !is_stopping => {
                    let _ = answer.send(self.lanes.sweep_capacity());
                }
                Some(published) = self.published.next() => {
                    self.resolve(published);
                    while let Some(Some(published)) = self.published.next().now_or_never() {
                        self.resolve(published);
                    }
                }
                () = self.results.written() => {}
                _ = check.tick() => self.check(),
            }
            if self.lanes.take_sweep_wanted() {
                self.sweep_wanted.notify_one();
            }
        }
        self.failures.log(Instant::now());
    }

    fn is_drained(&self) -> bool {
        self.lanes.is_drained() && self.results.is_empty()
    }

    fn take_written(&mut self, batch: &mut Vec<Outgoing>) {
        let lease_until = Instant::now() + WRITER_LEASE;
        for outgoing in batch.drain(..) {
            let mch_id = outgoing.event.mch_id.clone();
            let message = written_event(outgoing);
            self.lanes.push(&mch_id, Source::Written, Waiting { message, lease_until });
        }
    }

    fn take_swept(&mut self, due: Vec<Due>) {
        let lease_until = Instant::now() + SWEEP_LEASE;
        for due in due {
            if self.lanes.is_sent(&due.mch_id, due.id) {
                // Its confirm is still awaited, and its pause has ended.
                self.results.postpone(due.id);
            } else if !self.results.contains(due.id) {
                let mch_id = due.mch_id.clone();
                let source = if due.is_replay { Source::Replay } else { Source::Swept };
                let message = due_event(due);
                self.lanes.push(&mch_id, source, Waiting { message, lease_until });
            }
        }
    }

    fn publish_next(&mut self) {
        if self.common.have_changed() {
            self.lanes.forget_trust();
        }
        while !self.results.is_full() {
            let Some(next) = self.lanes.next(Instant::now()) else { return };
            failpoint::reached("relay.taken");
            let Next { mch_id, path, event } = next;
            let publisher = match path {
                Path::Common(channel) => Some(self.common.publisher(channel)),
                Path::Own => self.own.publisher(&mch_id),
            };
            let publish = async move {
                let id = event.message.message_id;
                let result = match publisher {
                    Some(publisher) => publisher.publish(event.message, CONFIRM_TIMEOUT).await,
                    None => Err(NotSentReason::Full.into()),
                };
                Published { mch_id, id, result }
            };
            self.published.push(publish.boxed());
        }
    }

    fn resolve(&mut self, Published { mch_id, id, result }: Published) {
        self.lanes.resolve(&mch_id, id, result.is_ok(), Instant::now());
        match result {
            Ok(()) => {
                failpoint::reached("relay.confirmed");
                metrics::counter!(names::EVENTS_PUBLISHED).increment(1);
                self.results.confirm(id);
            }
            Err(error) => {
                if counts_as_attempt(error) {
                    self.results.postpone(id);
                }
                self.failures.add(error);
            }
        }
    }

    fn check(&mut self) {
        let now = Instant::now();
        self.failures.log(now);
        if !self.common.is_up() {
            return;
        }
        let checked = self.lanes.check(now);
        for id in checked.late {
            self.results.postpone(id);
        }
        for mch_id in checked.began_to_lag {
            tracing::warn!(%mch_id, "a queue does not confirm its merchant's events; they wait");
        }
        for mch_id in checked.ceased_to_lag {
            tracing::info!(%mch_id, "the merchant's events are confirmed again");
        }
        self.common.replace_overdue(&mut self.lanes, now);
        self.own.tidy(&self.lanes, now);
    }
}

impl Failures {
    fn add(&mut self, error: PublishError) {
        self.count += 1;
        self.last = Some(error);
    }

    fn log(&mut self, now: Instant) {
        if now.duration_since(self.logged_at) < LOG_INTERVAL {
            return;
        }
        if let Some(error) = self.last.take() {
            let unconfirmed = std::mem::take(&mut self.count);
            tracing::warn!(%error, unconfirmed, "events stay in the outbox and are tried again");
            self.logged_at = now;
        }
    }
}

/// Without a connection no event was tried.
fn counts_as_attempt(error: PublishError) -> bool {
    match error {
        PublishError::Refused
        | PublishError::Unknown
        | PublishError::NotSent(NotSentReason::Invalid(_)) => true,
        PublishError::NotSent(_) => false,
    }
}

fn written_event(Outgoing { event, traceparent }: Outgoing) -> Message {
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
