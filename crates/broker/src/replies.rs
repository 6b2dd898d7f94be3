//! Answers to our own questions, by direct reply-to.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::{sync::oneshot, time::timeout};
use uuid::Uuid;

/// The pseudo queue: the broker replaces it by an address that leads back to our channel.
pub(crate) const DIRECT_REPLY_TO: &str = "amq.rabbitmq.reply-to";

/// Questions open at the same time.
const OPEN_MAX: usize = 8_192;

/// Who waits for which answer.
#[derive(Clone, Default)]
pub(crate) struct Replies(Arc<Mutex<HashMap<String, oneshot::Sender<Bytes>>>>);

impl Replies {
    /// Registers a question, unless too many are open.
    pub(crate) fn expect_one(&self) -> Option<PendingReply> {
        let correlation_id = Uuid::now_v7().to_string();
        let (sender, answer) = oneshot::channel();
        let mut open = self.open();
        if open.len() >= OPEN_MAX {
            return None;
        }
        open.insert(correlation_id.clone(), sender);
        Some(PendingReply { replies: self.clone(), correlation_id, answer })
    }

    /// Hands an answer over. One that nobody waits for any more is dropped.
    pub(crate) fn deliver(&self, correlation_id: &str, body: Bytes) {
        if let Some(waiting) = self.open().remove(correlation_id) {
            let _ = waiting.send(body);
        }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<String, oneshot::Sender<Bytes>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A question that has been taken over by the broker. Dropping it forgets the question.
pub struct PendingReply {
    replies: Replies,
    correlation_id: String,
    answer: oneshot::Receiver<Bytes>,
}

impl PendingReply {
    /// The answer's body, or `None` if none came in time. An answer is an accelerator: that none
    /// came says nothing about what the question did.
    pub async fn wait(mut self, within: Duration) -> Option<Bytes> {
        timeout(within, &mut self.answer).await.ok()?.ok()
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
