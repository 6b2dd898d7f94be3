//! A delivery that has not been acknowledged yet.

use std::future::Future;
use std::time::Duration;

use lapin::options::{BasicAckOptions, BasicNackOptions, BasicRejectOptions};
use lapin::types::ShortString;
use lapin::{Acker, BasicProperties};
use tokio::time::timeout;

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
    acker: Acker,
}

impl UnackedDelivery {
    pub(super) fn new(raw: lapin::message::Delivery, user: &BrokerUser) -> Self {
        let lapin::message::Delivery { routing_key, redelivered, properties, data, acker, .. } =
            raw;
        let body = data.into();
        let delivery = Delivery::received(&routing_key, redelivered, &properties, body, user);
        Self { delivery, routing_key, properties, acker }
    }

    /// If the channel is gone, the broker delivers the message again in any case.
    pub(super) fn is_channel_open(&self) -> bool {
        self.acker.usable()
    }

    pub(super) async fn ack(self) {
        write(self.acker.ack(BasicAckOptions::default())).await;
    }

    /// Failed: back to the queue. Counts towards the delivery limit on every RabbitMQ version, so
    /// that it ends at some time.
    pub(super) async fn requeue_failed(self) {
        write(self.acker.reject(BasicRejectOptions { requeue: true })).await;
    }

    /// Not handled: back to the queue. Does not count on RabbitMQ 4.3 and later.
    pub(super) async fn requeue(self) {
        write(self.acker.nack(BasicNackOptions { requeue: true, multiple: false })).await;
    }
}

async fn write(acknowledgement: impl Future<Output = lapin::Result<bool>>) {
    if !matches!(timeout(ACK_TIMEOUT, acknowledgement).await, Ok(Ok(true))) {
        // The channel is gone: the message is delivered again, and handlers are idempotent.
        metrics::counter!("wxpay_ack_stale_total").increment(1);
    }
}
