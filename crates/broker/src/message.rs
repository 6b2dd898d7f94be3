//! What others ask us to publish.

use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use crate::Exchange;

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
    /// Handed back with an answer. [`crate::Publisher::ask`] sets its own.
    pub correlation_id: Option<String>,
    /// After this long in a queue nobody needs to read it any more.
    pub expiration: Option<Duration>,
}
