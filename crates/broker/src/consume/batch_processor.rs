//! Calls the handler for a batch and acts on each outcome.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use lapin::BasicProperties;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};

use crate::consume::delivery::Delivery;
use crate::consume::disposition::Disposition;
use crate::consume::handler::{Handler, Outcome};
use crate::consume::republish;
use crate::consume::unacked_delivery::UnackedDelivery;
use crate::namespace::Namespace;
use crate::publish::Publisher;
use crate::publish::outgoing::Outgoing;
use crate::topology::{Queue, delay_name, parked_name};

/// For the confirm of one copy.
const REPUBLISH_TIMEOUT: Duration = Duration::from_secs(5);
/// Pauses before each attempt to publish a copy. The delivery waits meanwhile, and with it one
/// batch of those in flight: if copies cannot be published, taking more deliveries would not help.
/// Long enough in all that a broker's alarm does not drive a message to its delivery limit.
const REPUBLISH_PAUSES_S: [u64; 6] = [0, 1, 2, 5, 15, 30];

pub(super) struct BatchProcessor<H> {
    pub(super) handler: Arc<H>,
    pub(super) publisher: Publisher,
    pub(super) namespace: Namespace,
    pub(super) queue: Queue,
    pub(super) attempts_max: u32,
    pub(super) stop: CancellationToken,
}

impl<H: Handler> BatchProcessor<H> {
    /// Handles a batch and acknowledges, delays or parks every delivery in it.
    pub(super) async fn process(&self, mut batch: Vec<UnackedDelivery>) {
        let _in_flight = InFlightGauge::add(self.queue, batch.len());
        if batch.len() == 1
            && let Some(delivery) = batch.pop()
        {
            return self.process_one(delivery).await;
        }
        let span =
            tracing::info_span!("batch", queue = self.queue.name(), deliveries = batch.len());
        self.process_batch(batch).instrument(span).await;
    }

    async fn process_batch(&self, batch: Vec<UnackedDelivery>) {
        match self.handle(batch.iter().map(|it| it.delivery.clone()).collect()).await {
            Ok(outcomes) => {
                let mut done = Vec::new();
                let mut copies = Vec::new();
                for (unacked, outcome) in batch.into_iter().zip(outcomes) {
                    let span = self.span(&unacked.delivery);
                    match span.in_scope(|| self.decide(&unacked, outcome)) {
                        Disposition::Ack => done.push(unacked),
                        other => copies.push(self.dispose(unacked, other).instrument(span)),
                    }
                }
                UnackedDelivery::ack_all(done).await;
                join_all(copies).await;
            }
            Err(reason) => {
                // So that one delivery does not fail the others.
                tracing::error!("{reason}; calling it for each delivery of the batch alone");
                for unacked in batch {
                    self.process_one(unacked).await;
                }
            }
        }
    }

    async fn process_one(&self, unacked: UnackedDelivery) {
        let span = self.span(&unacked.delivery);
        let process = async {
            let outcome = match self.handle(vec![unacked.delivery.clone()]).await {
                Ok(mut outcomes) => outcomes.pop().unwrap_or(Outcome::Done),
                Err(reason) => Outcome::Retry { reason: reason.to_owned() },
            };
            let disposition = self.decide(&unacked, outcome);
            self.dispose(unacked, disposition).await;
        };
        process.instrument(span).await;
    }

    async fn handle(&self, batch: Vec<Delivery>) -> Result<Vec<Outcome>, &'static str> {
        let count = batch.len();
        let handling = AssertUnwindSafe(async { self.handler.handle(batch).await });
        match handling.catch_unwind().await {
            Ok(outcomes) if outcomes.len() == count => Ok(outcomes),
            Ok(_) => Err("handler answered with a wrong number of outcomes"),
            Err(_panic) => Err("handler panicked"),
        }
    }

    fn decide(&self, unacked: &UnackedDelivery, outcome: Outcome) -> Disposition {
        let disposition = Disposition::of(outcome, unacked.delivery.attempt, self.attempts_max);
        let labels = [("queue", self.queue.name()), ("disposition", disposition.label())];
        metrics::counter!("wxpay_dispositions_total", &labels).increment(1);
        log_disposition(&disposition);
        // A query has no delay queue; its sender asks again.
        if self.queue.is_durable_work() { disposition } else { Disposition::Ack }
    }

    async fn dispose(&self, unacked: UnackedDelivery, disposition: Disposition) {
        let attempt = unacked.delivery.attempt;
        match disposition {
            Disposition::Ack => unacked.ack().await,
            Disposition::Delay { step, attempt, .. } => {
                let user = self.publisher.user();
                let properties = republish::delayed(&unacked.properties, attempt, user);
                let exchange = delay_name(&self.namespace, self.queue, step);
                self.replace(unacked, exchange, properties).await;
            }
            Disposition::Park { reason } => {
                let user = self.publisher.user();
                let properties = republish::parked(&unacked.properties, attempt, &reason, user);
                let exchange = parked_name(&self.namespace, self.queue);
                self.replace(unacked, exchange, properties).await;
            }
        }
    }

    /// Publishes a copy, and acknowledges the original once the broker has confirmed the copy. If
    /// no attempt is confirmed, the original goes back to its queue.
    async fn replace(
        &self,
        original: UnackedDelivery,
        exchange: String,
        properties: BasicProperties,
    ) {
        let mut error = None;
        for pause in REPUBLISH_PAUSES_S.map(Duration::from_secs) {
            let slept = self.stop.run_until_cancelled(sleep(pause)).await;
            let stopped = slept.is_none() && !pause.is_zero();
            if stopped || !original.is_channel_open() {
                break;
            }
            let body = original.delivery.body.clone();
            let routing_key = original.routing_key.clone();
            let copy = Outgoing::copy(exchange.clone(), routing_key, properties.clone(), body);
            match self.publisher.send(copy, REPUBLISH_TIMEOUT).await {
                Ok(()) => return original.ack().await,
                Err(failed) => error = Some(failed.to_string()),
            }
        }
        tracing::warn!(error, "no copy could be published; the delivery goes back to its queue");
        original.requeue_failed().await;
    }

    fn span(&self, delivery: &Delivery) -> Span {
        tracing::info_span!(
            "delivery",
            queue = self.queue.name(),
            routing_key = delivery.routing_key,
            message_id = delivery.message_id_text,
            attempt = delivery.attempt,
        )
    }
}

fn log_disposition(disposition: &Disposition) {
    match disposition {
        Disposition::Delay { step, reason: Some(reason), .. } => {
            tracing::info!("delivered again in {}: {reason}", step.name);
        }
        Disposition::Park { reason } => tracing::warn!("parked: {reason}"),
        Disposition::Ack | Disposition::Delay { .. } => {}
    }
}

/// Deliveries that the handler has received, as the gauge `wxpay_inflight{kind}`.
struct InFlightGauge {
    gauge: metrics::Gauge,
    count: f64,
}

impl InFlightGauge {
    fn add(queue: Queue, count: usize) -> Self {
        let count = u32::try_from(count).map_or(f64::MAX, f64::from);
        let gauge = metrics::gauge!("wxpay_inflight", "kind" => queue.name());
        gauge.increment(count);
        Self { gauge, count }
    }
}

impl Drop for InFlightGauge {
    fn drop(&mut self) {
        self.gauge.decrement(self.count);
    }
}
