//! Replies to this process's own requests, by direct reply-to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::timeout;
use uuid::Uuid;

/// The pseudo queue: the broker replaces it by an address that leads back to the channel.
pub(crate) const DIRECT_REPLY_TO: &str = "amq.rabbitmq.reply-to";

/// Requests open at the same time.
const OPEN_MAX: usize = 8_192;

/// The open requests by their correlation ids.
#[derive(Clone, Default)]
pub(crate) struct Replies(Arc<Mutex<HashMap<String, oneshot::Sender<Bytes>>>>);

impl Replies {
    /// Registers a request, unless too many are open.
    pub(crate) fn expect_one(&self) -> Option<PendingReply> {
        let correlation_id = Uuid::now_v7().to_string();
        let (sender, reply) = oneshot::channel();
        let mut open = self.open();
        if open.len() >= OPEN_MAX {
            return None;
        }
        open.insert(correlation_id.clone(), sender);
        Some(PendingReply { replies: self.clone(), correlation_id, reply })
    }

    /// Drops a reply that is no longer awaited.
    pub(crate) fn deliver(&self, correlation_id: &str, body: Bytes) {
        if let Some(waiting) = self.open().remove(correlation_id) {
            let _ = waiting.send(body);
        }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<String, oneshot::Sender<Bytes>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that the broker has confirmed. Dropping it drops its reply.
pub struct PendingReply {
    replies: Replies,
    correlation_id: String,
    reply: oneshot::Receiver<Bytes>,
}

impl PendingReply {
    /// The reply's body, or `None` if none came in time. A missing reply says nothing about what
    /// the request did.
    pub async fn wait(mut self, within: Duration) -> Option<Bytes> {
        timeout(within, &mut self.reply).await.ok()?.ok()
    }

    pub(crate) fn correlation_id(&self) -> &str {
        &self.correlation_id
    }
}

impl Drop for PendingReply {
    fn drop(&mut self) {
        self.replies.open().remove(&self.correlation_id);
    }
}
