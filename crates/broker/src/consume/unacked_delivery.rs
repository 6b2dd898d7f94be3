//! A delivery that has not been acknowledged yet.

use std::time::Duration;

use futures_util::future::join_all;

use lapin::options::{BasicAckOptions, BasicNackOptions, BasicRejectOptions};
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel};
use tokio::time::timeout;

use crate::consume::acks::{Acks, Written};
use crate::consume::delivery::Delivery;
use crate::user::BrokerUser;

/// An acknowledgement is written to the socket and not answered; on a blocked connection the write
/// alone never ends.
const ACK_TIMEOUT: Duration = Duration::from_secs(10);

/// Used up by exactly one of `ack`, `requeue_failed` and `requeue`.
pub(super) struct UnackedDelivery {
    pub(super) delivery: Delivery,
    pub(super) routing_key: ShortString,
    pub(super) properties: BasicProperties,
    tag: u64,
    acks: Acks,
    channel: Channel,
}

impl UnackedDelivery {
    /// `acks`: of the channel on which it came.
    ///
    /// The delivery's own `acker` is left alone: it passes its frame to a task of its own, so that
    /// the frames of two deliveries can be written in either order.
    pub(super) fn new(
        raw: lapin::message::Delivery,
        user: &BrokerUser,
        channel: Channel,
        acks: Acks,
    ) -> Self {
        let tag = raw.delivery_tag;
        let lapin::message::Delivery { routing_key, redelivered, properties, data, .. } = raw;
        let body = data.into();
        let delivery = Delivery::received(&routing_key, redelivered, &properties, body, user);
        Self { delivery, routing_key, properties, tag, acks, channel }
    }

    /// If the channel is gone, the broker delivers the message again in any case.
    pub(super) fn is_channel_open(&self) -> bool {
        self.channel.status().connected()
    }

    pub(super) async fn ack(self) {
        Self::ack_all(vec![self]).await;
    }

    /// Acknowledges deliveries of one channel, with one frame where none before them is unsettled.
    pub(super) async fn ack_all(deliveries: Vec<Self>) {
        let Some(acks) = deliveries.first().map(|first| first.acks.clone()) else { return };
        let tags: Vec<u64> = deliveries.iter().map(|delivery| delivery.tag).collect();
        let written = acks.settle(&tags, |position, multiple| {
            let Self { channel, tag, .. } = &deliveries[position];
            let (channel, tag) = (channel.clone(), *tag);
            Box::pin(async move { channel.basic_ack(tag, BasicAckOptions { multiple }).await })
        });
        join_all(written.into_iter().map(finish)).await;
    }

    /// Failed: back to the queue. Counts towards the delivery limit on every RabbitMQ version, so
    /// that it ends at some time.
    pub(super) async fn requeue_failed(self) {
        let options = BasicRejectOptions { requeue: true };
        self.settle(|channel, tag| {
            Box::pin(async move { channel.basic_reject(tag, options).await })
        })
        .await;
    }

    /// Not handled: back to the queue. Does not count on RabbitMQ 4.3 and later.
    #[expect(clippy::disallowed_methods, reason = "it was not handled, so it need not count")]
    pub(super) async fn requeue(self) {
        let options = BasicNackOptions { requeue: true, multiple: false };
        self.settle(|channel, tag| Box::pin(async move { channel.basic_nack(tag, options).await }))
            .await;
    }

    async fn settle(self, write: impl Fn(Channel, u64) -> Written) {
        let written = self.acks.settle(&[self.tag], |_, _| write(self.channel.clone(), self.tag));
        join_all(written.into_iter().map(finish)).await;
    }
}

async fn finish(written: Written) {
    if !matches!(timeout(ACK_TIMEOUT, written).await, Ok(Ok(()))) {
        // The channel is gone: the message is delivered again, and handlers are idempotent.
        metrics::counter!("wxpay_ack_stale_total").increment(1);
    }
}
