//! A message to publish.

use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use crate::topology::Exchange;

const JSON: &str = "application/json";

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Exchange {
        exchange: Exchange,
        /// Decides what the message is; see the constants in [`crate::topology`]. At most 255
        /// bytes.
        routing_key: String,
    },
    /// The sender of a request, through the default exchange. The broker confirms and silently
    /// drops the message if that queue no longer exists.
    Reply {
        /// The `reply_to` of the request.
        reply_to: String,
    },
}

/// A message to publish. Delivery mode (2, or 1 for queries and replies), timestamp and `app_id`
/// are added when it is sent.
#[derive(Clone, Debug)]
pub struct Message {
    pub to: Target,
    /// The AMQP property `type`, at most 255 bytes.
    pub kind: String,
    /// Made and stored before the first attempt, the same in every repeat.
    pub message_id: Uuid,
    pub body: Bytes,
    pub content_type: &'static str,
    /// Names of at most 255 bytes, at most 16 KiB in all.
    pub headers: Vec<(String, String)>,
    /// Returned with the reply. [`crate::Requester::request`] sets its own.
    pub correlation_id: Option<String>,
    /// After this long in a queue the broker drops the message.
    pub expiration: Option<Duration>,
}

impl Message {
    /// A command to the worker, as JSON: its `type` is its routing key.
    pub fn command(routing_key: &str, body: Bytes) -> Self {
        let kind = routing_key.to_owned();
        let to = Target::Exchange { exchange: Exchange::Commands, routing_key: kind.clone() };
        Self::new(to, kind, JSON, body)
    }

    /// A notification as WeChat sent it: XML, not verified yet.
    pub fn notification(routing_key: &str, kind: &str, body: Bytes) -> Self {
        let routing_key = routing_key.to_owned();
        let to = Target::Exchange { exchange: Exchange::Notify, routing_key };
        Self::new(to, kind.to_owned(), "text/xml", body)
    }

    /// An event for shops, as JSON. `id` is the event's own, so that a repeat can be recognised.
    pub fn event(id: Uuid, kind: String, mch_id: &str, body: Bytes) -> Self {
        let routing_key = format!("{kind}.{mch_id}");
        let to = Target::Exchange { exchange: Exchange::Events, routing_key };
        Self { message_id: id, ..Self::new(to, kind, JSON, body) }
    }

    /// The reply to a request, as JSON.
    pub(crate) fn reply(reply_to: &str, correlation_id: Option<&str>, body: Bytes) -> Self {
        let to = Target::Reply { reply_to: reply_to.to_owned() };
        let correlation_id = correlation_id.map(str::to_owned);
        Self { correlation_id, ..Self::new(to, "reply".to_owned(), JSON, body) }
    }

    #[must_use]
    pub fn with_header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    fn new(to: Target, kind: String, content_type: &'static str, body: Bytes) -> Self {
        Self {
            to,
            kind,
            message_id: Uuid::now_v7(),
            body,
            content_type,
            headers: Vec::new(),
            correlation_id: None,
            expiration: None,
        }
    }
}
