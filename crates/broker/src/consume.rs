//! Consuming a queue in batches, with a bound on everything in flight.

use std::num::NonZeroUsize;
use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

mod acks;
pub(crate) mod batch_permits;
mod batch_processor;
pub(crate) mod delivery;
mod disposition;
pub(crate) mod event_subscription;
pub(crate) mod handler;
pub(crate) mod republish;
mod subscription;
mod unacked_delivery;

use crate::connection::Connection;
use crate::connection::backoff::Backoff;
use crate::connection::session::Session;
use crate::consume::batch_permits::{BatchPermit, BatchPermits};
use crate::consume::batch_processor::BatchProcessor;
use crate::consume::handler::Handler;
use crate::consume::subscription::Subscription;
use crate::consume::unacked_delivery::UnackedDelivery;
use crate::error::BrokerError;
use crate::error_deduplicator::ErrorDeduplicator;
use crate::publish::Publisher;
use crate::topology::{Queue, queue_name};
use crate::user::BrokerUser;

/// What a consumer holds at most.
#[derive(Clone, Copy, Debug)]
pub struct ConsumerLimits {
    /// Deliveries received and not yet acknowledged; at least 1. Good values are two to five times
    /// what is being handled.
    pub prefetch: u16,
    /// Deliveries in one call of the handler.
    pub batch_max: usize,
    /// Concurrent calls of the handler, as [`BatchPermits`] grants them.
    pub batches_in_flight: usize,
    /// After this many attempts a delivery is parked.
    pub attempts_max: u32,
}

/// Starts consumers, each on a channel of its own.
pub struct Consumer;

/// A running consumer. Dropping the handle leaves it running: only `stop` ends it.
pub struct ConsumerHandle {
    task: JoinHandle<()>,
}

impl Consumer {
    /// Consumes `queue` on a channel of its own until `stop`, through every loss of connection.
    ///
    /// `publisher` publishes the copies of deliveries that are delayed or parked; it should be on
    /// another connection. It must not be drained before [`ConsumerHandle::drained`] has returned.
    pub fn start<H: Handler>(
        connection: Connection,
        publisher: Publisher,
        queue: Queue,
        limits: ConsumerLimits,
        handler: Arc<H>,
        stop: CancellationToken,
    ) -> ConsumerHandle {
        let processor = BatchProcessor {
            handler,
            publisher,
            namespace: connection.namespace().clone(),
            queue,
            attempts_max: limits.attempts_max,
            stop: stop.clone(),
        };
        let run = Run {
            queue_name: queue_name(connection.namespace(), queue),
            connection,
            limits,
            processor: Arc::new(processor),
            permits: BatchPermits::new(limits.batches_in_flight, limits.batch_max),
            ended_subscriptions: TaskTracker::new(),
            stop,
        };
        ConsumerHandle { task: tokio::spawn(run.run()) }
    }
}

impl ConsumerHandle {
    /// After `stop`: returns when every handler in flight has finished, its deliveries are
    /// acknowledged, delayed or parked, unhandled deliveries are requeued, and the channel is
    /// closed. A handler's time is not bounded here.
    pub async fn drained(self) {
        if let Err(error) = self.task.await {
            tracing::error!(%error, "a consumer task panicked");
        }
    }
}

struct Run<H> {
    connection: Connection,
    queue_name: String,
    limits: ConsumerLimits,
    processor: Arc<BatchProcessor<H>>,
    permits: BatchPermits,
    /// Former subscriptions whose deliveries are still being handled.
    ended_subscriptions: TaskTracker,
    stop: CancellationToken,
}

enum Next {
    Batch(BatchPermit, Vec<UnackedDelivery>),
    Stop,
    /// The subscription has ended, for whatever reason. Never taken for a shutdown.
    SubscriptionEnded,
}

impl<H: Handler> Run<H> {
    async fn run(self) {
        let mut backoff = Backoff::new();
        let mut errors = ErrorDeduplicator::default();
        let user = BrokerUser::of(self.connection.config());
        while let Some(session) =
            self.stop.run_until_cancelled(self.connection.usable_session()).await
        {
            let open =
                Subscription::open(&session, &self.queue_name, self.limits.prefetch, user.clone());
            match self.stop.run_until_cancelled(open).await {
                None => break,
                Some(Ok(subscription)) => {
                    errors.reset();
                    let since = Instant::now();
                    self.consume(&session, subscription).await;
                    backoff.reset_after(since.elapsed());
                }
                Some(Err(error)) => self.log_error(&error, &mut errors),
            }
            self.stop.run_until_cancelled(sleep(backoff.next())).await;
        }
        self.ended_subscriptions.close();
        self.ended_subscriptions.wait().await;
    }

    async fn consume(&self, session: &Session, mut subscription: Subscription) {
        loop {
            match self.next(session, &mut subscription).await {
                Next::Batch(permit, batch) => {
                    let processor = Arc::clone(&self.processor);
                    subscription.spawn(async move {
                        permit.hold_during(batch.len(), processor.process(batch)).await;
                    });
                }
                Next::Stop => {
                    subscription.requeue_unhandled().await;
                    return subscription.finish().await;
                }
                Next::SubscriptionEnded => {
                    self.log_end(session, &subscription);
                    // In the background: the next subscription does not wait for its handlers.
                    self.ended_subscriptions.spawn(subscription.finish());
                    return;
                }
            }
        }
    }

    async fn next(&self, session: &Session, subscription: &mut Subscription) -> Next {
        let batch_max = NonZeroUsize::new(self.limits.batch_max).unwrap_or(NonZeroUsize::MIN);
        let batch = async {
            // The permit first: deliveries taken without one would not be bounded.
            let permit = self.permits.acquire().await?;
            Some(Next::Batch(permit, subscription.next_batch(batch_max).await?))
        };
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Next::Stop,
            () = self.connection.lost(session) => Next::SubscriptionEnded,
            batch = batch => batch.unwrap_or(Next::SubscriptionEnded),
        }
    }

    fn log_end(&self, session: &Session, subscription: &Subscription) {
        // The supervisor logs the loss of the whole connection.
        if self.connection.is_current(session) {
            let queue = &self.queue_name;
            match subscription.error() {
                Some(error) => {
                    tracing::warn!(queue, %error, "lost the subscription; subscribing again");
                }
                None => {
                    tracing::warn!(
                        queue,
                        "the broker cancelled the subscription; subscribing again"
                    );
                }
            }
        }
    }

    fn log_error(&self, error: &BrokerError, errors: &mut ErrorDeduplicator) {
        if let Some(error) = errors.changed(error) {
            tracing::error!(queue = self.queue_name, "cannot consume, retrying: {error}");
        }
        if error.is_not_found() {
            self.connection.recheck_topology();
        }
    }
}
