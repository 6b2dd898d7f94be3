//! Receiving events as a shop does, on a queue that is deleted with its consumer.

use bytes::Bytes;
use futures_util::StreamExt;
use lapin::Consumer;
use lapin::options::{BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;

use crate::amqp_channel;
use crate::config::BrokerConfig;
use crate::connection::connect::AmqpConnection;
use crate::error::{BrokerError, bounded};
use crate::topology::{Exchange, exchange_name};

/// A subscription to events. Dropping it ends it.
pub struct EventSubscription {
    events: Consumer,
    _connection: AmqpConnection,
}

/// Binds a temporary queue to the events that match `pattern` (`#` for all of them). For operators
/// and tests: events published before or after the subscription are lost to it.
pub async fn subscribe_events(
    config: &BrokerConfig,
    pattern: &str,
) -> Result<EventSubscription, BrokerError> {
    let connection = AmqpConnection::connect(config).await?;
    let channel = amqp_channel::open(connection.amqp()).await?;
    let temporary = QueueDeclareOptions {
        exclusive: true,
        auto_delete: true,
        ..QueueDeclareOptions::default()
    };
    let declared = channel.queue_declare("".into(), temporary, FieldTable::default());
    let queue = bounded("declaring a temporary queue", declared).await?.name().clone();
    let exchange = exchange_name(&config.namespace, Exchange::Events);
    let bound = channel.queue_bind(
        queue.clone(),
        exchange.as_str().into(),
        pattern.into(),
        QueueBindOptions::default(),
        FieldTable::default(),
    );
    bounded(format!("binding to {exchange}"), bound).await?;
    let no_ack = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
    let consuming = channel.basic_consume(queue, "".into(), no_ack, FieldTable::default());
    Ok(EventSubscription {
        events: bounded("consuming events", consuming).await?,
        _connection: connection,
    })
}

impl EventSubscription {
    /// The body of the next event; `None` once the connection is lost.
    pub async fn next(&mut self) -> Option<Bytes> {
        let delivery = self.events.next().await?.ok()?;
        Some(Bytes::from(delivery.data))
    }
}
