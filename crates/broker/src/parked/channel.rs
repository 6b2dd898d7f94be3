//! A channel on which messages of one queue are held unacknowledged.

use bytes::Bytes;
use lapin::{
    Acker, BasicProperties, Channel, Confirmation,
    options::{
        BasicAckOptions, BasicGetOptions, BasicNackOptions, BasicPublishOptions,
        ConfirmSelectOptions,
    },
    types::ShortString,
};

use super::{ParkedMessage, ParkedQueue};
use crate::{
    BrokerError, Delivery, Exchange, Namespace, Queue, consumer::copy, error::bounded,
    exchange_name, outgoing::Outgoing, sender::Us, topology::apply::close,
};

pub(crate) struct ParkedChannel {
    channel: Channel,
    namespace: Namespace,
    queue: ParkedQueue,
    queue_name: String,
    us: Us,
}

/// A message that the broker waits to hear about.
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
        connection: &lapin::Connection,
        namespace: &Namespace,
        queue: ParkedQueue,
        us: Us,
    ) -> Result<Self, BrokerError> {
        let channel = bounded("opening a channel", connection.create_channel()).await?;
        let select = channel.confirm_select(ConfirmSelectOptions::default());
        bounded("turning confirms on", select).await?;
        Ok(Self {
            channel,
            namespace: namespace.clone(),
            queue,
            queue_name: queue.full_name(namespace),
            us,
        })
    }

    /// The next message, and how many are left behind it.
    pub(crate) async fn take(&self) -> Result<Option<(UnackedMessage, u32)>, BrokerError> {
        let name = self.queue_name.as_str();
        let get = self.channel.basic_get(name.into(), BasicGetOptions::default());
        let got = bounded(format!("reading the queue {name}"), get).await?;
        Ok(got.map(|got| (self.held(got.delivery), got.message_count)))
    }

    fn held(&self, raw: lapin::message::Delivery) -> UnackedMessage {
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
        let delivery = Delivery::received(&routing_key, redelivered, &properties, body, &self.us);
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

    /// Publishes a copy to where the message came from, and waits for the broker to have it.
    /// `false` when nothing is bound for it there.
    ///
    /// One at a time and by one task, so that no confirm can be taken for another's (engineering,
    /// finding 1).
    pub(crate) async fn publish(&self, held: &UnackedMessage) -> Result<bool, BrokerError> {
        let Some(origin_exchange) = held.origin_exchange else {
            return Ok(false);
        };
        let to = exchange_name(&self.namespace, origin_exchange);
        let what = format!("publishing to the exchange {to}");
        let (key, properties) = (held.routing_key.clone(), copy::anew(&held.properties, &self.us));
        let copy = Outgoing::copy(to, key, properties, held.message.delivery.body.clone());
        let confirmation = async {
            let options = BasicPublishOptions::default();
            self.channel
                .basic_publish(
                    copy.exchange,
                    copy.routing_key,
                    options,
                    &copy.body,
                    copy.properties,
                )
                .await?
                .await
        };
        match bounded(what.clone(), confirmation).await? {
            Confirmation::Ack(None) => Ok(true),
            _ => Err(BrokerError::refused(what)),
        }
    }

    pub(crate) async fn ack(&self, held: UnackedMessage) -> Result<(), BrokerError> {
        let what = format!("acknowledging a message of the queue {}", self.queue_name);
        let acked = bounded(what.clone(), held.acker.ack(BasicAckOptions::default())).await?;
        match acked {
            true => Ok(()),
            false => Err(BrokerError::gone(what)),
        }
    }

    /// Gives everything that is still held back to the queue, and closes the channel, which does
    /// the same if this cannot be done. Only the one of `rest` that was taken last counts.
    ///
    /// They are not rejected, because that counts towards the delivery limit everywhere, and being
    /// looked at is no failure of theirs.
    pub(crate) async fn requeue(&self, rest: impl Iterator<Item = UnackedMessage>) {
        if let Some(last) = rest.max_by_key(|held| held.tag) {
            let all = BasicNackOptions { multiple: true, requeue: true };
            let _ = bounded("giving messages back", last.acker.nack(all)).await;
        }
        close(&self.channel).await;
    }
}

/// Where a message of this queue was published to, if a queue of ours takes its routing key there.
///
/// A parked copy passed through our own fanout exchange, so that the queue tells. What is unrouted
/// still names its exchange, and must return to that one: whoever may publish to one of them may
/// not reach the other by way of a lost message.
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
    fn a_message_goes_back_to_where_it_came_from() {
        let namespace = Namespace::parse("wxpay").unwrap();
        let origin_exchange =
            |queue, exchange, key| origin_exchange(&namespace, queue, exchange, key);
        let (orders, unrouted) = (ParkedQueue::Orders, ParkedQueue::Unrouted);
        let fanout = "wxpay.orders.parked";
        assert_eq!(origin_exchange(orders, fanout, "order.create"), Some(Exchange::Commands));
        assert_eq!(origin_exchange(orders, fanout, "payment"), None);
        assert_eq!(origin_exchange(orders, fanout, "wxpay.orders"), None);
        assert_eq!(origin_exchange(unrouted, "wxpay.notify", "payment"), Some(Exchange::Notify));
        assert_eq!(
            origin_exchange(unrouted, "wxpay.commands", "order.query"),
            Some(Exchange::Commands)
        );
        assert_eq!(origin_exchange(unrouted, "wxpay.commands", "payment"), None);
        assert_eq!(origin_exchange(unrouted, "wxpay.unrouted", "payment"), None);
        assert_eq!(origin_exchange(unrouted, "", "order.create"), None);
    }
}
