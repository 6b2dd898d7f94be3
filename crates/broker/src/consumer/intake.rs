//! One subscription on one channel.

use std::{future::Future, num::NonZeroUsize, time::Duration};

use futures_util::{FutureExt, StreamExt, future::join_all};
use lapin::{
    Channel,
    options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions},
    types::FieldTable,
};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::Unsettled;
use crate::{BrokerError, connection::Session, error::bounded, sender::Us, topology::apply::close};

/// The channel is looked at even when the stream says nothing: it was once seen to stay silent
/// after a connection had died (engineering, section 2.1).
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub(super) struct Intake {
    channel: Channel,
    /// Handlers at work on deliveries of this channel.
    batches: TaskTracker,
    deliveries: lapin::Consumer,
    us: Us,
    ended: bool,
    error: Option<lapin::Error>,
}

impl Intake {
    pub(super) async fn open(
        session: &Session,
        queue: &str,
        prefetch: u16,
        us: Us,
    ) -> Result<Self, BrokerError> {
        let channel = session.open_channel().await?;
        // Before consuming: the buffer underneath is unbounded, and 0 would mean no limit.
        let qos = channel.basic_qos(prefetch.max(1), BasicQosOptions::default());
        bounded("setting the prefetch", qos).await?;
        let options = BasicConsumeOptions::default();
        let consume =
            channel.basic_consume(queue.into(), "".into(), options, FieldTable::default());
        let deliveries = bounded(format!("consuming the queue {queue}"), consume).await?;
        let batches = TaskTracker::new();
        Ok(Self { channel, batches, deliveries, us, ended: false, error: None })
    }

    /// Starts a task on deliveries of this channel. Nothing cancels it: what a handler does to the
    /// database must not stop half-way (engineering, finding 4).
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.batches.spawn(task);
    }

    /// Waits for a delivery and takes along whatever else is there by then. It does not linger
    /// for more. `None` when there will be no more. Loses nothing when dropped.
    pub(super) async fn next_batch(&mut self, max: NonZeroUsize) -> Option<Vec<Unsettled>> {
        while !self.ended && self.channel.status().connected() {
            let Ok(delivery) = timeout(LOOK_EVERY, self.deliveries.next()).await else {
                continue;
            };
            let Some(first) = self.received(delivery) else {
                continue;
            };
            let mut batch = vec![first];
            batch.extend(std::iter::from_fn(|| self.received_already()).take(max.get() - 1));
            return Some(batch);
        }
        None
    }

    fn received_already(&mut self) -> Option<Unsettled> {
        // After its end the stream would be pending for ever.
        let delivery = (!self.ended).then(|| self.deliveries.next().now_or_never())??;
        self.received(delivery)
    }

    fn received(
        &mut self,
        delivery: Option<lapin::Result<lapin::message::Delivery>>,
    ) -> Option<Unsettled> {
        match delivery {
            Some(Ok(delivery)) => return Some(Unsettled::new(delivery, &self.us)),
            Some(Err(error)) => self.error = Some(error),
            None => {}
        }
        self.ended = true;
        None
    }

    /// Takes no more deliveries, and gives back those which nobody has touched.
    pub(super) async fn give_back_rest(&mut self) {
        let cancel =
            self.channel.basic_cancel(self.deliveries.tag(), BasicCancelOptions::default());
        let _ = bounded("cancelling the subscription", cancel).await;
        let rest: Vec<_> = std::iter::from_fn(|| self.received_already()).collect();
        join_all(rest.into_iter().map(Unsettled::give_back)).await;
    }

    /// Waits for the handlers at work, whose acknowledgements need the channel, and closes it.
    pub(super) async fn finish(self) {
        self.batches.close();
        self.batches.wait().await;
        if self.channel.status().connected() {
            close(&self.channel).await;
        }
    }

    /// What ended it, unless it was the broker's plain cancellation.
    pub(super) fn error(&self) -> Option<&lapin::Error> {
        self.error.as_ref()
    }
}
