//! A channel on which messages of one parked queue stay unacknowledged.

use bytes::Bytes;
use lapin::options::{BasicAckOptions, BasicGetOptions, BasicNackOptions, BasicPublishOptions};
use lapin::types::ShortString;
use lapin::{Acker, BasicProperties, Channel, Confirmation};

use crate::amqp_channel;
use crate::consume::delivery::Delivery;
use crate::consume::republish;
use crate::error::{BrokerError, bounded};
use crate::namespace::Namespace;
use crate::parked::queue::ParkedQueue;
use crate::publish::outgoing::Outgoing;
use crate::topology::{Exchange, Queue, exchange_name};
use crate::user::BrokerUser;

/// A message that waits for an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedMessage {
    /// 1 for the oldest. Valid until an older message is removed.
    pub position: usize,
    pub delivery: Delivery,
    /// Whether a queue is bound for it at its exchange, so that it can be published again.
    pub is_replayable: bool,
}

pub(crate) struct ParkedChannel {
    channel: Channel,
    namespace: Namespace,
    queue: ParkedQueue,
    queue_name: String,
    user: BrokerUser,
}

pub(crate) struct UnackedMessage {
    pub(crate) message: ParkedMessage,
    origin_exchange: Option<Exchange>,
    routing_key: ShortString,
    properties: BasicProperties,
    tag: u64,
    acker: Acker,
}

impl ParkedChannel {
    pub(crate) async fn open(
        amqp: &lapin::Connection,
        namespace: &Namespace,
        queue: ParkedQueue,
        user: BrokerUser,
    ) -> Result<Self, BrokerError> {
        Ok(Self {
            channel: amqp_channel::open_with_confirms(amqp).await?,
            namespace: namespace.clone(),
            queue,
            queue_name: queue.full_name(namespace),
            user,
        })
    }

    /// The next message, and how many remain behind it.
    pub(crate) async fn take(&self) -> Result<Option<(UnackedMessage, u32)>, BrokerError> {
        let name = self.queue_name.as_str();
        let get = self.channel.basic_get(name.into(), BasicGetOptions::default());
        let got = bounded(format!("reading the queue {name}"), get).await?;
        Ok(got.map(|got| (self.received(got.delivery), got.message_count)))
    }

    fn received(&self, raw: lapin::message::Delivery) -> UnackedMessage {
        let lapin::message::Delivery {
            delivery_tag: tag,
            exchange,
            routing_key,
            redelivered,
            properties,
            data,
            acker,
            ..
        } = raw;
        let body = Bytes::from(data);
        let delivery = Delivery::received(&routing_key, redelivered, &properties, body, &self.user);
        let origin_exchange =
            origin_exchange(&self.namespace, self.queue, exchange.as_str(), routing_key.as_str());
        UnackedMessage {
            message: ParkedMessage {
                position: 0,
                delivery,
                is_replayable: origin_exchange.is_some(),
            },
            origin_exchange,
            routing_key,
            properties,
            tag,
            acker,
        }
    }

    /// Publishes a copy to where the message came from, and waits for the broker's confirm. `false`
    /// when no queue is bound for it there.
    ///
    /// One message at a time and by one task, so that no confirm is attributed to another message.
    pub(crate) async fn publish(&self, unacked: &UnackedMessage) -> Result<bool, BrokerError> {
        let Some(origin_exchange) = unacked.origin_exchange else {
            return Ok(false);
        };
        let exchange = exchange_name(&self.namespace, origin_exchange);
        let action = format!("publishing to the exchange {exchange}");
        let routing_key = unacked.routing_key.clone();
        let properties = republish::replayed(&unacked.properties, &self.user);
        let body = unacked.message.delivery.body.clone();
        let Outgoing { exchange, routing_key, properties, body } =
            Outgoing::copy(exchange, routing_key, properties, body);
        let options = BasicPublishOptions::default();
        let publish = async {
            self.channel
                .basic_publish(exchange, routing_key, options, &body, properties)
                .await?
                .await
        };
        match bounded(action.clone(), publish).await? {
            Confirmation::Ack(None) => Ok(true),
            _ => Err(BrokerError::refused(action)),
        }
    }

    pub(crate) async fn ack(&self, unacked: UnackedMessage) -> Result<(), BrokerError> {
        let action = format!("acknowledging a message of the queue {}", self.queue_name);
        let ack = unacked.acker.ack(BasicAckOptions::default());
        let written = bounded(action.clone(), ack).await?;
        if written { Ok(()) } else { Err(BrokerError::connection_lost(action)) }
    }

    /// Returns everything that is still unacknowledged to the queue and closes the channel, which
    /// has the same effect if the nack fails. Only the message of `rest` that was taken last counts.
    ///
    /// A nack and not a reject: a reject counts towards the delivery limit on every version, and
    /// reading a message is no failure of it.
    pub(crate) async fn requeue_and_close(&self, rest: impl Iterator<Item = UnackedMessage>) {
        if let Some(last) = rest.max_by_key(|unacked| unacked.tag) {
            let all = BasicNackOptions { multiple: true, requeue: true };
            let _ = bounded("returning messages", last.acker.nack(all)).await;
        }
        amqp_channel::close(&self.channel).await;
    }
}

/// The exchange that a message of this queue was published to, if a queue is bound to it there with
/// its routing key.
///
/// A parked message passed through a fanout exchange, so the queue decides. An unrouted message still
/// names its exchange and must return to that one: a sender who may publish to one exchange must not
/// reach the other through an unroutable message.
fn origin_exchange(
    namespace: &Namespace,
    queue: ParkedQueue,
    exchange: &str,
    routing_key: &str,
) -> Option<Exchange> {
    let candidates: &[Queue] = match queue {
        ParkedQueue::Orders => &[Queue::Orders],
        ParkedQueue::Notifications => &[Queue::Notifications],
        ParkedQueue::Unrouted => &[Queue::Orders, Queue::Notifications, Queue::Queries],
    };
    candidates.iter().find_map(|candidate| {
        let (source, keys) = candidate.source();
        let came_from =
            queue != ParkedQueue::Unrouted || exchange == exchange_name(namespace, source);
        (came_from && keys.contains(&routing_key)).then_some(source)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_returns_to_the_exchange_it_came_from() {
        let namespace = Namespace::parse("wxpay").unwrap();
        let origin = |queue, exchange, key| origin_exchange(&namespace, queue, exchange, key);
        let orders = ParkedQueue::Orders;
        let unrouted = ParkedQueue::Unrouted;
        let fanout = "wxpay.orders.parked";
        assert_eq!(origin(orders, fanout, "order.create"), Some(Exchange::Commands));
        assert_eq!(origin(orders, fanout, "payment"), None);
        assert_eq!(origin(orders, fanout, "wxpay.orders"), None);
        assert_eq!(origin(unrouted, "wxpay.notify", "payment"), Some(Exchange::Notify));
        assert_eq!(origin(unrouted, "wxpay.commands", "order.query"), Some(Exchange::Commands));
        assert_eq!(origin(unrouted, "wxpay.commands", "payment"), None);
        assert_eq!(origin(unrouted, "wxpay.unrouted", "payment"), None);
        assert_eq!(origin(unrouted, "", "order.create"), None);
    }
}
