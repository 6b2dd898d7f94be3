//! A worker that consumes a queue and replies what the test wants.

use std::sync::Arc;

use broker::{
    Consumer, ConsumerLimits, Delivery, Handler, Outcome, Publisher, PublisherLimits, Queue,
    Replier,
};
use serde_json::Value;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

use crate::http::DEADLINE;
use crate::test_broker::TestBroker;

pub(crate) struct FakeWorker {
    deliveries: UnboundedReceiver<Delivery>,
}

impl FakeWorker {
    /// A worker that takes commands and never replies.
    pub(crate) async fn silent(broker: &TestBroker, queue: Queue) -> Self {
        Self::start(broker, queue, |_| None).await
    }

    pub(crate) async fn start(
        broker: &TestBroker,
        queue: Queue,
        reply: impl Fn(&Delivery) -> Option<Value> + Send + Sync + 'static,
    ) -> Self {
        let connection = broker.declare().await;
        let (sender, deliveries) = unbounded_channel();
        let copies =
            Publisher::start(connection.clone(), PublisherLimits { queued: 10, in_flight: 10 });
        let limits =
            ConsumerLimits { prefetch: 100, batch_max: 10, batches_in_flight: 1, attempts_max: 1 };
        let handler =
            RecordingHandler { sender, reply, replier: Replier::start(connection.clone()) };
        Consumer::start(connection, copies, queue, limits, Arc::new(handler), broker.token());
        Self { deliveries }
    }

    pub(crate) async fn next(&mut self) -> Delivery {
        let next = timeout(DEADLINE, self.deliveries.recv()).await;
        next.expect("a message arrives in time").expect("the consumer lives")
    }
}

struct RecordingHandler<A> {
    sender: UnboundedSender<Delivery>,
    reply: A,
    replier: Replier,
}

impl<A> Handler for RecordingHandler<A>
where
    A: Fn(&Delivery) -> Option<Value> + Send + Sync + 'static,
{
    async fn handle(&self, batch: Vec<Delivery>) -> Vec<Outcome> {
        let outcomes = batch.iter().map(|_| Outcome::Done).collect();
        for delivery in batch {
            if let Some(reply) = (self.reply)(&delivery)
                && let Some(reply_to) = &delivery.reply_to
            {
                let correlation_id = delivery.correlation_id.as_deref();
                self.replier.send(reply_to, correlation_id, reply.to_string().into());
            }
            let _ = self.sender.send(delivery);
        }
        outcomes
    }
}
