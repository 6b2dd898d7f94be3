//! Where a batch is handled and each of its deliveries used up.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::{FutureExt, future::join_all};
use lapin::BasicProperties;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{ConsumerLimits, Unsettled, copy, disposition::Disposition};
use crate::{
    Delivery, Handler, Namespace, Outcome, Publisher, Queue,
    outgoing::Outgoing,
    topology::{delay_name, parked_name},
};

/// How long a copy may take to be confirmed.
const COPY_PATIENCE: Duration = Duration::from_secs(5);
/// Between attempts to publish a copy. The delivery waits meanwhile, and with it one batch of
/// those in flight: if copies cannot be published, taking more deliveries would not help. Long
/// enough in all that a broker's alarm does not drive a message to its delivery limit.
const COPY_PAUSES_S: [u64; 6] = [0, 1, 2, 5, 15, 30];

pub(super) struct Desk<H> {
    pub(super) handler: Arc<H>,
    pub(super) copies: Publisher,
    pub(super) namespace: Namespace,
    pub(super) queue: Queue,
    pub(super) limits: ConsumerLimits,
    pub(super) stop: CancellationToken,
}

impl<H: Handler> Desk<H> {
    /// Handles a batch and disposes of every delivery in it.
    pub(super) async fn process(&self, batch: Vec<Unsettled>) {
        let _in_hand = InHand::new(self.queue, batch.len());
        match self.handle(batch.iter().map(|it| it.delivery.clone()).collect()).await {
            Ok(outcomes) => {
                let each = batch.into_iter().zip(outcomes);
                join_all(each.map(|(unsettled, outcome)| self.dispose(unsettled, outcome))).await;
            }
            Err(reason) if batch.len() == 1 => {
                for unsettled in batch {
                    self.dispose(unsettled, Outcome::Retry { reason: reason.to_owned() }).await;
                }
            }
            Err(reason) => {
                let (queue, deliveries) = (self.queue.name(), batch.len());
                tracing::error!(queue, deliveries, "{reason}; each delivery is handled by itself");
                self.process_singly(batch).await;
            }
        }
    }

    /// So that one delivery does not fail its neighbours.
    async fn process_singly(&self, batch: Vec<Unsettled>) {
        for unsettled in batch {
            let outcome = match self.handle(vec![unsettled.delivery.clone()]).await {
                Ok(mut outcomes) => outcomes.pop().unwrap_or(Outcome::Done),
                Err(reason) => Outcome::Retry { reason: reason.to_owned() },
            };
            self.dispose(unsettled, outcome).await;
        }
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

    async fn dispose(&self, unsettled: Unsettled, outcome: Outcome) {
        let attempt = unsettled.delivery.attempt;
        let disposition = Disposition::of(outcome, attempt, self.limits.attempts_max);
        let labels = [("queue", self.queue.name()), ("disposition", disposition.name())];
        metrics::counter!("wxpay_dispositions_total", &labels).increment(1);
        self.tell(&unsettled.delivery, &disposition);
        match disposition {
            Disposition::Ack => unsettled.ack().await,
            // A question has nowhere to wait; whoever asked will ask again.
            _ if !self.queue.is_durable_work() => unsettled.ack().await,
            Disposition::Delay { step, attempt, .. } => {
                let properties = copy::delayed(&unsettled.properties, attempt, self.copies.us());
                let exchange = delay_name(&self.namespace, self.queue, step);
                self.replace(unsettled, exchange, properties).await;
            }
            Disposition::Park { reason } => {
                let properties =
                    copy::parked(&unsettled.properties, attempt, &reason, self.copies.us());
                let exchange = parked_name(&self.namespace, self.queue);
                self.replace(unsettled, exchange, properties).await;
            }
        }
    }

    /// Publishes the copy, and acknowledges the original when the broker has the copy. Otherwise
    /// the original goes back to where it came from.
    async fn replace(&self, original: Unsettled, exchange: String, properties: BasicProperties) {
        let mut problem = None;
        for pause in COPY_PAUSES_S.map(Duration::from_secs) {
            let waited = self.stop.run_until_cancelled(sleep(pause)).await;
            let out_of_time = waited.is_none() && !pause.is_zero();
            if out_of_time || !original.is_ours() {
                break;
            }
            let (body, key) = (original.delivery.body.clone(), original.routing_key.clone());
            let copy = Outgoing::copy(exchange.clone(), key, properties.clone(), body);
            match self.copies.send(copy, COPY_PATIENCE).await {
                Ok(()) => return original.ack().await,
                Err(error) => problem = Some(error),
            }
        }
        let (queue, message_id) = (self.queue.name(), &original.delivery.message_id_text);
        let problem = problem.map(|problem| problem.to_string());
        tracing::warn!(queue, message_id, problem, "no copy could be made; back to the queue");
        original.reject().await;
    }

    fn tell(&self, delivery: &Delivery, disposition: &Disposition) {
        let (queue, attempt) = (self.queue.name(), delivery.attempt);
        let (message_id, routing_key) = (&delivery.message_id_text, &delivery.routing_key);
        match disposition {
            Disposition::Delay { step, reason: Some(reason), .. } => {
                tracing::info!(
                    queue,
                    routing_key,
                    message_id,
                    attempt,
                    "again in {}: {reason}",
                    step.name
                );
            }
            Disposition::Park { reason } => {
                tracing::warn!(queue, routing_key, message_id, attempt, "parked: {reason}");
            }
            Disposition::Ack | Disposition::Delay { .. } => {}
        }
    }
}

/// Counts deliveries in the handler's hands, as the gauge `wxpay_inflight{kind}`.
struct InHand(metrics::Gauge, f64);

impl InHand {
    fn new(queue: Queue, count: usize) -> Self {
        let count = u32::try_from(count).map_or(f64::MAX, f64::from);
        let gauge = metrics::gauge!("wxpay_inflight", "kind" => queue.name());
        gauge.increment(count);
        Self(gauge, count)
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        self.0.decrement(self.1);
    }
}
