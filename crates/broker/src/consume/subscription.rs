//! One subscription to a queue, on a channel of its own.

use std::future::Future;
use std::num::NonZeroUsize;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{FutureExt, StreamExt};
use lapin::Channel;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::amqp_channel;
use crate::connection::session::Session;
use crate::consume::acks::Acks;
use crate::consume::unacked_delivery::UnackedDelivery;
use crate::error::{BrokerError, bounded};
use crate::user::BrokerUser;

/// The channel is polled even when the stream is silent: once, the stream stayed silent after its
/// connection had died.
const STATUS_CHECK_INTERVAL: Duration = Duration::from_secs(1);

pub(super) struct Subscription {
    channel: Channel,
    /// Handlers running on deliveries of this channel.
    batches: TaskTracker,
    deliveries: lapin::Consumer,
    user: BrokerUser,
    acks: Acks,
    ended: bool,
    error: Option<lapin::Error>,
}

impl Subscription {
    pub(super) async fn open(
        session: &Session,
        queue: &str,
        prefetch: u16,
        user: BrokerUser,
    ) -> Result<Self, BrokerError> {
        let channel = session.open_channel().await?;
        // Before consuming: the library's buffer is unbounded, and 0 would mean no limit.
        let qos = channel.basic_qos(prefetch.max(1), BasicQosOptions::default());
        bounded("setting the prefetch", qos).await?;
        let options = BasicConsumeOptions::default();
        let consume =
            channel.basic_consume(queue.into(), "".into(), options, FieldTable::default());
        let deliveries = bounded(format!("consuming the queue {queue}"), consume).await?;
        let batches = TaskTracker::new();
        let acks = Acks::default();
        Ok(Self { channel, batches, deliveries, user, acks, ended: false, error: None })
    }

    /// Starts a task on deliveries of this channel. It is never cancelled: a handler must not stop
    /// in the middle of a database transaction.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.batches.spawn(task);
    }

    /// Waits for a delivery and adds what else has arrived by then, without waiting for more. `None`
    /// when the subscription has ended. Loses nothing when dropped.
    pub(super) async fn next_batch(&mut self, max: NonZeroUsize) -> Option<Vec<UnackedDelivery>> {
        while !self.ended && self.channel.status().connected() {
            let Ok(delivery) = timeout(STATUS_CHECK_INTERVAL, self.deliveries.next()).await else {
                continue;
            };
            let Some(first) = self.receive(delivery) else {
                continue;
            };
            let mut batch = vec![first];
            batch.extend(std::iter::from_fn(|| self.receive_buffered()).take(max.get() - 1));
            return Some(batch);
        }
        None
    }

    fn receive_buffered(&mut self) -> Option<UnackedDelivery> {
        // After its end the stream would be pending for ever.
        let delivery = (!self.ended).then(|| self.deliveries.next().now_or_never())??;
        self.receive(delivery)
    }

    fn receive(
        &mut self,
        delivery: Option<lapin::Result<lapin::message::Delivery>>,
    ) -> Option<UnackedDelivery> {
        match delivery {
            Some(Ok(delivery)) => {
                let channel = self.channel.clone();
                let acks = self.acks.clone();
                return Some(UnackedDelivery::new(delivery, &self.user, channel, acks));
            }
            Some(Err(error)) => self.error = Some(error),
            None => {}
        }
        self.ended = true;
        None
    }

    /// Cancels the subscription and requeues the deliveries that no handler has received.
    pub(super) async fn requeue_unhandled(&mut self) {
        let cancel =
            self.channel.basic_cancel(self.deliveries.tag(), BasicCancelOptions::default());
        let _ = bounded("cancelling the subscription", cancel).await;
        let unhandled: Vec<_> = std::iter::from_fn(|| self.receive_buffered()).collect();
        join_all(unhandled.into_iter().map(UnackedDelivery::requeue)).await;
    }

    /// Waits for the running handlers, whose acknowledgements need the channel, and closes it.
    pub(super) async fn finish(self) {
        self.batches.close();
        self.batches.wait().await;
        if self.channel.status().connected() {
            amqp_channel::close(&self.channel).await;
        }
    }

    /// What ended the subscription, unless the broker cancelled it.
    pub(super) fn error(&self) -> Option<&lapin::Error> {
        self.error.as_ref()
    }
}
