//! What others ask us to publish.

use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use crate::Exchange;

const JSON: &str = "application/json";

/// Where a message goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// To one of our exchanges.
    Exchange {
        /// Which.
        exchange: Exchange,
        /// Decides what the message is; see the constants in [`crate::topology`]. At most 255
        /// bytes.
        routing_key: String,
    },
    /// To whoever asked, through the default exchange. The broker drops it without a word (and
    /// confirms it) if nobody is there any more.
    Reply {
        /// The `reply_to` of the question.
        reply_to: String,
    },
}

/// A message to publish. It is given delivery mode 2 (questions and answers: 1), the present
/// time and the `app_id` `wxpay-orders` on its way.
#[derive(Clone, Debug)]
pub struct Message {
    /// Where it goes.
    pub to: Target,
    /// The AMQP property `type`, at most 255 bytes.
    pub kind: String,
    /// Made and stored before the first attempt, the same at every repeat.
    pub message_id: Uuid,
    /// The payload.
    pub body: Bytes,
    /// For example `application/json`.
    pub content_type: &'static str,
    /// `traceparent` and the like; names at most 255 bytes, at most 16 KiB in all.
    pub headers: Vec<(String, String)>,
    /// Handed back with an answer. [`crate::Requester::request`] sets its own.
    pub correlation_id: Option<String>,
    /// After this long in a queue nobody needs to read it any more.
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

    /// An event for shops, as JSON. `id` is that of its row, so that a repeat is recognised.
    pub fn event(id: Uuid, kind: String, mch_id: &str, body: Bytes) -> Self {
        let routing_key = format!("{kind}.{mch_id}");
        let to = Target::Exchange { exchange: Exchange::Events, routing_key };
        Self { message_id: id, ..Self::new(to, kind, JSON, body) }
    }

    /// A reply to a request, as JSON.
    pub(crate) fn reply(reply_to: &str, correlation_id: Option<&str>, body: Bytes) -> Self {
        let to = Target::Reply { reply_to: reply_to.to_owned() };
        let correlation_id = correlation_id.map(str::to_owned);
        Self { correlation_id, ..Self::new(to, "reply".to_owned(), JSON, body) }
    }

    /// With one header more.
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
