//! Somebody who consumes a queue and answers what the test says.

use std::sync::Arc;

use broker::{
    Consumer, ConsumerLimits, Delivery, Handler, Outcome, Publisher, PublisherLimits, Queue,
    Replier,
};
use serde_json::Value;
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::timeout,
};

use crate::{http::DEADLINE, world::World};

pub(crate) struct FakeWorker {
    seen: UnboundedReceiver<Delivery>,
}

impl FakeWorker {
    /// Only looks.
    pub(crate) async fn silent(world: &World, queue: Queue) -> Self {
        Self::start(world, queue, |_| None).await
    }

    pub(crate) async fn start(
        world: &World,
        queue: Queue,
        answer: impl Fn(&Delivery) -> Option<Value> + Send + Sync + 'static,
    ) -> Self {
        let connection = world.declare().await;
        let (sender, seen) = unbounded_channel();
        let copies =
            Publisher::start(connection.clone(), PublisherLimits { queued: 10, in_flight: 10 });
        let limits =
            ConsumerLimits { prefetch: 100, batch_max: 10, batches_in_flight: 1, attempts_max: 1 };
        let handler = Eyes { sender, answer, replier: Replier::start(connection.clone()) };
        Consumer::start(connection, copies, queue, limits, Arc::new(handler), world.token());
        Self { seen }
    }

    /// The next delivery.
    pub(crate) async fn next(&mut self) -> Delivery {
        let next = timeout(DEADLINE, self.seen.recv()).await;
        next.expect("a message arrives in time").expect("the consumer lives")
    }
}

struct Eyes<A> {
    sender: UnboundedSender<Delivery>,
    answer: A,
    replier: Replier,
}

impl<A> Handler for Eyes<A>
where
    A: Fn(&Delivery) -> Option<Value> + Send + Sync + 'static,
{
    async fn handle(&self, batch: Vec<Delivery>) -> Vec<Outcome> {
        let outcomes = batch.iter().map(|_| Outcome::Done).collect();
        for delivery in batch {
            if let (Some(answer), Some(reply_to)) = ((self.answer)(&delivery), &delivery.reply_to) {
                let correlation_id = delivery.correlation_id.as_deref();
                self.replier.send(reply_to, correlation_id, answer.to_string().into());
            }
            let _ = self.sender.send(delivery);
        }
        outcomes
    }
}
