//! A delivery that the broker waits to hear about.

use std::{future::Future, time::Duration};

use lapin::{
    Acker, BasicProperties,
    options::{BasicAckOptions, BasicNackOptions, BasicRejectOptions},
    types::ShortString,
};
use tokio::time::timeout;

use crate::{Delivery, sender::Us};

/// An acknowledgement is written to the socket, not answered; on a connection that the broker has
/// stopped reading from even that takes for ever.
const ACK_PATIENCE: Duration = Duration::from_secs(10);

/// Used up by exactly one of `ack`, `reject` and `give_back`.
pub(super) struct Unsettled {
    pub(super) delivery: Delivery,
    pub(super) routing_key: ShortString,
    pub(super) properties: BasicProperties,
    acker: Acker,
}

impl Unsettled {
    pub(super) fn new(raw: lapin::message::Delivery, us: &Us) -> Self {
        let lapin::message::Delivery { routing_key, redelivered, properties, data, acker, .. } =
            raw;
        let delivery = Delivery::received(&routing_key, redelivered, &properties, data.into(), us);
        Self { delivery, routing_key, properties, acker }
    }

    /// Whether its channel still stands. If not, the broker delivers it to somebody anyway.
    pub(super) fn is_ours(&self) -> bool {
        self.acker.usable()
    }

    /// Dealt with.
    pub(super) async fn ack(self) {
        settle(self.acker.ack(BasicAckOptions::default())).await;
    }

    /// Failed, to be delivered again. Counts towards the broker's delivery limit on every
    /// version, so that it cannot go round for ever.
    pub(super) async fn reject(self) {
        settle(self.acker.reject(BasicRejectOptions { requeue: true })).await;
    }

    /// Untouched, to be delivered to somebody else. Does not count on RabbitMQ 4.3 and later.
    pub(super) async fn give_back(self) {
        settle(self.acker.nack(BasicNackOptions { requeue: true, multiple: false })).await;
    }
}

async fn settle(settling: impl Future<Output = lapin::Result<bool>>) {
    if !matches!(timeout(ACK_PATIENCE, settling).await, Ok(Ok(true))) {
        // The channel is gone or going: the delivery comes again, and handlers bear that.
        metrics::counter!("wxpay_ack_stale_total").increment(1);
    }
}
