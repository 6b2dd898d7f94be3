//! A message as it is written to the channel, with everything checked that could break the channel.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use tracing::Span;

use crate::namespace::Namespace;
use crate::publish::error::NotSentReason;
use crate::publish::message::{Message, Target};
use crate::topology::{exchange_name, is_persistent};
use crate::user::BrokerUser;

/// The AMQP property `app_id` of everything this system publishes.
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
                let persistent = is_persistent(exchange, &routing_key);
                let mode = if persistent { PERSISTENT } else { TRANSIENT };
                (exchange_name(namespace, exchange), routing_key, mode)
            }
            Target::Reply { reply_to } if namespace.owns(&reply_to) => {
                return Err(NotSentReason::Invalid("the reply_to names a queue of this system"));
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

    /// A copy of a delivery, to one of the fanout exchanges in front of a delay or parked queue, or
    /// to where it was published first.
    pub(crate) fn copy(
        exchange: String,
        routing_key: ShortString,
        properties: BasicProperties,
        body: Bytes,
    ) -> Self {
        let properties = properties.with_delivery_mode(PERSISTENT);
        Self { exchange: exchange.into(), routing_key, properties, body }
    }

    /// With this user's name, which the broker validates.
    pub(crate) fn signed(mut self, user: &BrokerUser) -> Self {
        self.properties = user.sign(std::mem::take(&mut self.properties));
        self
    }

    pub(crate) fn into_request(
        mut self,
        reply_to: ShortString,
        correlation_id: ShortString,
    ) -> Self {
        let properties = std::mem::take(&mut self.properties);
        self.properties = properties.with_reply_to(reply_to).with_correlation_id(correlation_id);
        self
    }

    pub(crate) fn span(&self) -> Span {
        tracing::info_span!(
            "publish",
            exchange = self.exchange.as_str(),
            routing_key = self.routing_key.as_str(),
            message_id = self.properties.message_id().as_ref().map(ShortString::as_str),
        )
    }
}

/// The client library panics on a longer text.
fn short(text: String, error: &'static str) -> Result<ShortString, NotSentReason> {
    ShortString::try_new(text).map_err(|_| NotSentReason::Invalid(error))
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
