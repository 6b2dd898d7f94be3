//! EventSubscription to events as a shop would, on a queue that is gone with the listener.

use bytes::Bytes;
use futures_util::StreamExt;
use lapin::{
    Consumer,
    options::{BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions},
    types::FieldTable,
};

use crate::{BrokerConfig, BrokerError, Exchange, dial::Wire, error::bounded, exchange_name};

/// A subscription to events. Dropping it ends it.
pub struct EventSubscription {
    events: Consumer,
    _wire: Wire,
}

/// Binds a temporary queue to the events that match `pattern` (`#` for all of them). For people
/// and tests: what is published while nobody listens is not kept.
pub async fn subscribe_events(
    config: &BrokerConfig,
    pattern: &str,
) -> Result<EventSubscription, BrokerError> {
    let wire = Wire::dial(config).await?;
    let channel = bounded("opening a channel", wire.connection().create_channel()).await?;
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
    Ok(EventSubscription { events: bounded("consuming events", consuming).await?, _wire: wire })
}

impl EventSubscription {
    /// The body of the next event; `None` once the broker is gone.
    pub async fn next(&mut self) -> Option<Bytes> {
        let delivery = self.events.next().await?.ok()?;
        Some(Bytes::from(delivery.data))
    }
}
