//! Messages that wait for a human, in the hands of one: looked at, sent on their way again, or
//! thrown away.

use std::fmt;

use bytes::Bytes;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

mod channel;

pub(crate) use channel::{ParkedChannel, UnackedMessage};

use crate::{
    BrokerConfig, BrokerError, Delivery, Namespace, Queue, consumer::copy::PARKED_AT, dial::Wire,
    sender::Us, topology,
};

/// Messages taken at once, which is as much of a queue as a person can look through.
const MESSAGES_MAX: usize = 1_000;
/// Their bodies together: what shops publish is bounded by the broker alone.
const BODIES_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The queues that nobody consumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ParkedQueue {
    /// Commands that the worker parked.
    Orders,
    /// Notifications that the worker parked.
    Notifications,
    /// Whatever was published while nothing was bound for it.
    Unrouted,
}

/// A message that waits for a human.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedMessage {
    /// 1 for the oldest. Holds as long as nobody deals with older ones.
    pub position: usize,
    /// The message.
    pub delivery: Delivery,
    /// Whether something is bound for it where it came from, so that it can be sent again.
    pub is_replayable: bool,
}

/// Parked messages in one person's hands. Nobody else sees them meanwhile; those not dealt with go
/// back into the queue, also when this process dies.
pub struct ParkedBatch {
    wire: Wire,
    channel: ParkedChannel,
    held: Vec<Option<UnackedMessage>>,
    remaining: u32,
}

impl ParkedQueue {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Orders, Self::Notifications, Self::Unrouted];

    /// Its name for people: `orders`, `notifications` or `unrouted`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Orders => Queue::Orders.name(),
            Self::Notifications => Queue::Notifications.name(),
            Self::Unrouted => topology::UNROUTED,
        }
    }

    /// The one of this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|queue| queue.name() == text)
    }

    /// Its name on the broker.
    pub fn full_name(self, namespace: &Namespace) -> String {
        match self {
            Self::Orders => topology::parked_name(namespace, Queue::Orders),
            Self::Notifications => topology::parked_name(namespace, Queue::Notifications),
            Self::Unrouted => topology::unrouted_name(namespace),
        }
    }
}

impl fmt::Display for ParkedQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl ParkedBatch {
    /// Takes up to 1000 messages off the queue, on a connection of its own, and puts them into the
    /// order of their ages: the broker gives back what was returned to it in an order of its own.
    pub async fn take(config: &BrokerConfig, queue: ParkedQueue) -> Result<Self, BrokerError> {
        let wire = Wire::dial(config).await?;
        let channel =
            ParkedChannel::open(wire.connection(), &config.namespace, queue, Us::of(config))
                .await?;
        let mut batch = Self { wire, channel, held: Vec::new(), remaining: 0 };
        let (mut bytes, mut taken) = (0, Vec::new());
        while taken.len() < MESSAGES_MAX && bytes < BODIES_BYTES_MAX {
            let Some((held, remaining)) = batch.channel.take().await? else {
                batch.remaining = 0;
                break;
            };
            bytes += held.message.delivery.body.len();
            taken.push(held);
            batch.remaining = remaining;
        }
        taken.sort_by_cached_key(|held| age(&held.message.delivery));
        for (place, mut held) in taken.into_iter().enumerate() {
            held.message.position = place + 1;
            batch.held.push(Some(held));
        }
        Ok(batch)
    }

    /// The messages that have not been dealt with, oldest first.
    pub fn messages(&self) -> impl Iterator<Item = &ParkedMessage> {
        self.held.iter().flatten().map(|held| &held.message)
    }

    /// How many more lie behind those taken.
    pub fn remaining(&self) -> u32 {
        self.remaining
    }

    /// Publishes a copy as a first attempt to where the message came from, and acknowledges the
    /// message once the broker has the copy: a crash in between leaves two, never none. `false`
    /// when there is no such message, or nothing is bound for it; it then stays.
    pub async fn replay(&mut self, position: usize) -> Result<bool, BrokerError> {
        let Some(held) = self.at(position) else {
            return Ok(false);
        };
        let sent = self.channel.publish(held).await?;
        if sent {
            self.discard(position).await?;
        }
        Ok(sent)
    }

    /// Throws a message away. `false` when there is no such message.
    pub async fn discard(&mut self, position: usize) -> Result<bool, BrokerError> {
        let place = position.checked_sub(1);
        let held = place.and_then(|place| self.held.get_mut(place)?.take());
        match held {
            Some(held) => self.channel.ack(held).await.map(|()| true),
            None => Ok(false),
        }
    }

    /// Puts what was not dealt with back, and hangs up.
    pub async fn requeue(self) {
        self.channel.requeue(self.held.into_iter().flatten()).await;
        self.wire.hang_up().await;
    }

    fn at(&self, position: usize) -> Option<&UnackedMessage> {
        self.held.get(position.checked_sub(1)?)?.as_ref()
    }
}

/// What puts messages into an order that is the same whoever looks: when they were parked, or else
/// sent; then what tells them apart.
fn age(delivery: &Delivery) -> (i128, Option<String>, Bytes) {
    let parked_at = delivery.header(PARKED_AT);
    let parked_at = parked_at.and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
    let sent_ns = i128::from(delivery.timestamp_seconds.unwrap_or(0)) * 1_000_000_000;
    let at_ns = parked_at.map_or(sent_ns, OffsetDateTime::unix_timestamp_nanos);
    let (id, body) = (delivery.message_id_text.clone(), delivery.body.clone());
    (at_ns, id, body)
}
