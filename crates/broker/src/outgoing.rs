//! A message ready for the wire: everything checked that could upset the channel.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable, ShortString},
};

use crate::{Message, Namespace, NotSentReason, Target, exchange_name, sender::Us, topology};

/// The AMQP property `app_id` of everything we publish.
const APP_ID: &str = "wxpay-orders";
/// All properties travel in one frame, and one longer than the broker's limit (128 KiB) ends the
/// whole connection.
pub(crate) const HEADERS_BYTES_MAX: usize = 16 * 1024;

const TRANSIENT: u8 = 1;
const PERSISTENT: u8 = 2;

/// Exchange, routing key, properties and body of one `basic.publish`.
pub(crate) struct Outgoing {
    pub(crate) exchange: ShortString,
    pub(crate) routing_key: ShortString,
    pub(crate) properties: BasicProperties,
    pub(crate) body: Bytes,
}

impl Outgoing {
    pub(crate) fn new(namespace: &Namespace, message: Message) -> Result<Self, NotSentReason> {
        let (exchange, routing_key, mode) = match message.to {
            Target::Exchange { exchange, routing_key } => {
                let persistent = topology::is_persistent(exchange, &routing_key);
                let mode = if persistent { PERSISTENT } else { TRANSIENT };
                (exchange_name(namespace, exchange), routing_key, mode)
            }
            Target::Reply { reply_to } if namespace.owns(&reply_to) => {
                return Err(NotSentReason::Invalid("the reply_to is one of our own queues"));
            }
            Target::Reply { reply_to } => (String::new(), reply_to, TRANSIENT),
        };
        let mut properties = BasicProperties::default()
            .with_delivery_mode(mode)
            .with_app_id(APP_ID.into())
            .with_timestamp(now_seconds())
            .with_content_type(message.content_type.into())
            .with_type(short(message.kind, "the type is too long")?)
            .with_message_id(message.message_id.to_string().into())
            .with_headers(headers(message.headers)?);
        if let Some(id) = message.correlation_id {
            properties =
                properties.with_correlation_id(short(id, "the correlation_id is too long")?);
        }
        if let Some(expiration) = message.expiration {
            properties = properties.with_expiration(expiration.as_millis().to_string().into());
        }
        Ok(Self {
            exchange: exchange.into(),
            routing_key: short(routing_key, "the routing key is too long")?,
            properties,
            body: message.body,
        })
    }

    /// A copy of a delivery, for one of the fanout exchanges in front of a delay or parked queue.
    pub(crate) fn copy(
        exchange: String,
        routing_key: ShortString,
        properties: BasicProperties,
        body: Bytes,
    ) -> Self {
        let properties = properties.with_delivery_mode(PERSISTENT);
        Self { exchange: exchange.into(), routing_key, properties, body }
    }

    /// Puts our name on it, for the broker to vouch for.
    pub(crate) fn signed(mut self, us: &Us) -> Self {
        self.properties = us.sign(std::mem::take(&mut self.properties));
        self
    }

    /// Makes a question of it.
    pub(crate) fn with_reply(mut self, reply_to: ShortString, correlation_id: ShortString) -> Self {
        let properties = std::mem::take(&mut self.properties);
        self.properties = properties.with_reply_to(reply_to).with_correlation_id(correlation_id);
        self
    }
}

/// The client library panics on a longer text.
fn short(text: String, complaint: &'static str) -> Result<ShortString, NotSentReason> {
    ShortString::try_new(text).map_err(|_| NotSentReason::Invalid(complaint))
}

fn headers(headers: Vec<(String, String)>) -> Result<FieldTable, NotSentReason> {
    let bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > HEADERS_BYTES_MAX {
        return Err(NotSentReason::Invalid("the headers are too long"));
    }
    let mut table = FieldTable::default();
    for (name, value) in headers {
        let name = short(name, "the name of a header is too long")?;
        table.insert(name, AMQPValue::LongString(value.into()));
    }
    Ok(table)
}

fn now_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
