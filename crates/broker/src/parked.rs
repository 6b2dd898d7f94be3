//! Parked (dead-letter) messages, for an operator to inspect, replay or discard.

use bytes::Bytes;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub(crate) mod channel;
pub(crate) mod queue;
pub(crate) mod unrouted;

use crate::config::BrokerConfig;
use crate::connection::connect::AmqpConnection;
use crate::consume::delivery::Delivery;
use crate::consume::republish::PARKED_AT;
use crate::error::BrokerError;
use crate::parked::channel::{ParkedChannel, ParkedMessage, UnackedMessage};
use crate::parked::queue::ParkedQueue;
use crate::user::BrokerUser;

/// Messages taken at once: as many as an operator can read through.
const MESSAGES_MAX: usize = 1_000;
/// Their bodies together: only the broker bounds what shops publish.
const BODIES_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Messages taken off a parked queue, unacknowledged and so invisible to others meanwhile. Those not
/// replayed or discarded return to the queue, also when this process dies.
pub struct ParkedBatch {
    connection: AmqpConnection,
    channel: ParkedChannel,
    /// `None` where a message was replayed or discarded.
    messages: Vec<Option<UnackedMessage>>,
    remaining: u32,
}

impl ParkedBatch {
    /// Takes up to 1000 messages off the queue, on a connection of its own, and sorts them by age:
    /// the broker does not keep the order of returned messages.
    pub async fn take(config: &BrokerConfig, queue: ParkedQueue) -> Result<Self, BrokerError> {
        let connection = AmqpConnection::connect(config).await?;
        let user = BrokerUser::of(config);
        let channel =
            ParkedChannel::open(connection.amqp(), &config.namespace, queue, user).await?;
        let mut batch = Self { connection, channel, messages: Vec::new(), remaining: 0 };
        let mut bytes = 0;
        let mut messages = Vec::new();
        while messages.len() < MESSAGES_MAX && bytes < BODIES_BYTES_MAX {
            let Some((message, remaining)) = batch.channel.take().await? else {
                batch.remaining = 0;
                break;
            };
            bytes += message.message.delivery.body.len();
            messages.push(message);
            batch.remaining = remaining;
        }
        messages.sort_by_cached_key(|unacked| age(&unacked.message.delivery));
        for (index, unacked) in messages.iter_mut().enumerate() {
            unacked.message.position = index + 1;
        }
        batch.messages = messages.into_iter().map(Some).collect();
        Ok(batch)
    }

    /// The messages that were not replayed or discarded, oldest first.
    pub fn messages(&self) -> impl Iterator<Item = &ParkedMessage> {
        self.messages.iter().flatten().map(|unacked| &unacked.message)
    }

    /// How many more messages the queue holds.
    pub fn remaining(&self) -> u32 {
        self.remaining
    }

    /// Publishes a copy as a first attempt to where the message came from, and acknowledges the
    /// message once the broker has confirmed the copy: a crash in between leaves two, never none.
    /// `false` when there is no such message, or no queue is bound for it; it then stays.
    pub async fn replay(&mut self, position: usize) -> Result<bool, BrokerError> {
        let Some(message) = self.at(position) else {
            return Ok(false);
        };
        let sent = self.channel.publish(message).await?;
        if sent {
            self.discard(position).await?;
        }
        Ok(sent)
    }

    /// Removes a message for good. `false` when there is no such message.
    pub async fn discard(&mut self, position: usize) -> Result<bool, BrokerError> {
        let index = position.checked_sub(1);
        match index.and_then(|index| self.messages.get_mut(index)?.take()) {
            Some(message) => self.channel.ack(message).await.map(|()| true),
            None => Ok(false),
        }
    }

    /// Returns the other messages to the queue and closes the connection.
    pub async fn requeue(self) {
        self.channel.requeue_and_close(self.messages.into_iter().flatten()).await;
        self.connection.close().await;
    }

    fn at(&self, position: usize) -> Option<&UnackedMessage> {
        self.messages.get(position.checked_sub(1)?)?.as_ref()
    }
}

/// Sorts messages the same way at every reading: by when they were parked, or else sent; then by
/// what distinguishes them.
fn age(delivery: &Delivery) -> (i128, Option<String>, Bytes) {
    let parked_at = delivery.header(PARKED_AT);
    let parked_at = parked_at.and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
    let sent_ns = i128::from(delivery.timestamp_seconds.unwrap_or(0)) * 1_000_000_000;
    let at_ns = parked_at.map_or(sent_ns, OffsetDateTime::unix_timestamp_nanos);
    (at_ns, delivery.message_id_text.clone(), delivery.body.clone())
}
