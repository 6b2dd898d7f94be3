//! A message as it was received.

use std::fmt;

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, ShortString};
use uuid::Uuid;

use crate::user::BrokerUser;

/// The header with the number of the attempt. RabbitMQ's own counters differ between versions.
pub(crate) const ATTEMPT: &str = "attempt";

/// A message as it was received. Only `user_id` and `redelivered` come from the broker; everything
/// else is as the sender wrote it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Delivery {
    /// Decides what the message is; kept through delays.
    pub routing_key: String,
    /// Not shown by `Debug`.
    pub body: Bytes,
    /// If it is a UUID.
    pub message_id: Option<Uuid>,
    /// Whether or not it is a UUID.
    pub message_id_text: Option<String>,
    /// The AMQP property `type`.
    pub kind: Option<String>,
    /// Where to send the reply.
    pub reply_to: Option<String>,
    /// Returned with the reply.
    pub correlation_id: Option<String>,
    pub content_type: Option<String>,
    /// The AMQP user who published it, validated by the broker; kept through delays. `None` when
    /// the publisher did not set it.
    pub user_id: Option<String>,
    /// The sender's clock, in seconds since 1970.
    pub timestamp_seconds: Option<u64>,
    /// The headers whose values are texts.
    pub headers: Vec<(String, String)>,
    /// A consumer may have received it before.
    pub redelivered: bool,
    /// 1 for the first.
    pub attempt: u32,
}

impl Delivery {
    /// A first delivery without any property; for tests of handlers.
    pub fn new(routing_key: impl Into<String>, body: impl Into<Bytes>) -> Self {
        let routing_key = routing_key.into();
        let body = body.into();
        Self { routing_key, body, attempt: 1, ..Self::default() }
    }

    /// If its value is a text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// A first delivery from encoded properties, for the fuzz targets. `None` when they cannot be
    /// decoded.
    #[cfg(fuzzing)]
    pub fn decode(routing_key: &str, properties: &[u8], body: impl Into<Bytes>) -> Option<Self> {
        let routing_key = ShortString::try_new(routing_key).ok()?;
        let (_, properties) = lapin::protocol::basic::parse_properties(properties).ok()?;
        let user = BrokerUser("worker".into());
        Some(Self::received(&routing_key, false, &properties, body.into(), &user))
    }

    pub(crate) fn received(
        routing_key: &ShortString,
        redelivered: bool,
        properties: &BasicProperties,
        body: Bytes,
        user: &BrokerUser,
    ) -> Self {
        let text = |property: &Option<ShortString>| property.as_ref().map(ToString::to_string);
        let message_id_text = text(properties.message_id());
        Self {
            routing_key: routing_key.to_string(),
            body,
            message_id: message_id_text.as_deref().and_then(|id| Uuid::try_parse(id).ok()),
            message_id_text,
            kind: text(properties.kind()),
            reply_to: text(properties.reply_to()),
            correlation_id: text(properties.correlation_id()),
            content_type: text(properties.content_type()),
            user_id: user.sender_of(properties),
            timestamp_seconds: *properties.timestamp(),
            headers: text_headers(properties),
            redelivered,
            attempt: attempt(properties),
        }
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("routing_key", &self.routing_key)
            .field("message_id", &self.message_id_text)
            .field("attempt", &self.attempt)
            .field("redelivered", &self.redelivered)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

fn text_headers(properties: &BasicProperties) -> Vec<(String, String)> {
    let text = |(name, value): (&ShortString, &AMQPValue)| match value {
        AMQPValue::LongString(value) => {
            let value = std::str::from_utf8(value.as_bytes()).ok()?;
            Some((name.to_string(), value.to_owned()))
        }
        _ => None,
    };
    properties.headers().iter().flatten().filter_map(text).collect()
}

/// Any sender can write this header. A false number only changes how often the sender's own message
/// is retried.
fn attempt(properties: &BasicProperties) -> u32 {
    let header = properties.headers().as_ref().and_then(|headers| headers.inner().get(ATTEMPT));
    let number = header.and_then(|value| match value {
        AMQPValue::ShortShortInt(n) => Some(i64::from(*n)),
        AMQPValue::ShortShortUInt(n) => Some(i64::from(*n)),
        AMQPValue::ShortInt(n) => Some(i64::from(*n)),
        AMQPValue::ShortUInt(n) => Some(i64::from(*n)),
        AMQPValue::LongInt(n) => Some(i64::from(*n)),
        AMQPValue::LongUInt(n) => Some(i64::from(*n)),
        AMQPValue::LongLongInt(n) => Some(*n),
        _ => None,
    });
    number.and_then(|n| u32::try_from(n).ok()).unwrap_or(1).max(1)
}
