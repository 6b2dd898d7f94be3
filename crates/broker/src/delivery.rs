//! A message as it arrived.

use std::fmt;

use bytes::Bytes;
use lapin::{
    BasicProperties,
    types::{AMQPValue, ShortString},
};
use uuid::Uuid;

use crate::sender::Us;

/// Carries the number of the attempt; ours, because not every broker counts the same things.
pub(crate) const ATTEMPT: &str = "attempt";

/// A message as it arrived. Everything in it but `user_id` and `redelivered` is the sender's word.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Delivery {
    /// Says what it is, also after a delay.
    pub routing_key: String,
    /// The payload. Not shown by `Debug`.
    pub body: Bytes,
    /// The `message_id`, if it is a UUID.
    pub message_id: Option<Uuid>,
    /// The `message_id`, whatever it is.
    pub message_id_text: Option<String>,
    /// The AMQP property `type`.
    pub kind: Option<String>,
    /// Where an answer is wanted.
    pub reply_to: Option<String>,
    /// To be handed back with the answer.
    pub correlation_id: Option<String>,
    /// For example `application/json`.
    pub content_type: Option<String>,
    /// The AMQP user who published it, vouched for by the broker; the same after a delay. `None`
    /// when its publisher did not give its name.
    pub user_id: Option<String>,
    /// When the sender says it was sent, in seconds since 1970.
    pub timestamp_seconds: Option<u64>,
    /// Those headers whose values are texts.
    pub headers: Vec<(String, String)>,
    /// Somebody may have had it before.
    pub redelivered: bool,
    /// 1 for the first.
    pub attempt: u32,
}

impl Delivery {
    /// A first delivery with nothing but this in it; for tests of handlers.
    pub fn new(routing_key: impl Into<String>, body: impl Into<Bytes>) -> Self {
        let (routing_key, body) = (routing_key.into(), body.into());
        Self { routing_key, body, attempt: 1, ..Self::default() }
    }

    /// The header of this name, if its value is a text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// A first delivery whose properties are still as they travel on the wire; for the fuzz targets
    /// alone. `None` when they are no properties.
    #[cfg(fuzzing)]
    pub fn decode(routing_key: &str, properties: &[u8], body: impl Into<Bytes>) -> Option<Self> {
        let routing_key = ShortString::try_new(routing_key).ok()?;
        let (_, properties) = lapin::protocol::basic::parse_properties(properties).ok()?;
        Some(Self::received(&routing_key, false, &properties, body.into(), &Us("worker".into())))
    }

    pub(crate) fn received(
        routing_key: &ShortString,
        redelivered: bool,
        properties: &BasicProperties,
        body: Bytes,
        us: &Us,
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
            user_id: us.sender(properties),
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

/// Anybody can write this header; a lie costs the liar attempts, or gains some for a message
/// that only they care about.
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
