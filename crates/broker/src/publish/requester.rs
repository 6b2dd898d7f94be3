//! Publishing requests and receiving their replies.

use std::time::Duration;

use crate::connection::Connection;
use crate::publish::error::{NotSentReason, PublishError};
use crate::publish::message::Message;
use crate::publish::outgoing::Outgoing;
use crate::publish::replies::{DIRECT_REPLY_TO, PendingReply, Replies};
use crate::publish::{Publisher, PublisherLimits};

/// A publisher of requests that also receives their replies. Clones share its channel.
///
/// Direct reply-to requires that the channel which publishes a request is the one that consumes
/// its reply.
#[derive(Clone)]
pub struct Requester {
    publisher: Publisher,
    replies: Replies,
}

impl Requester {
    /// Starts on a channel of its own, which is opened again after each reconnect.
    pub fn start(connection: Connection, limits: PublisherLimits) -> Self {
        let replies = Replies::default();
        let publisher = Publisher::start_with(connection, limits, Some(replies.clone()));
        Self { publisher, replies }
    }

    /// Publishes a request. Returns once the broker has confirmed it, with a handle on which to
    /// await the reply.
    pub async fn request(
        &self,
        message: Message,
        within: Duration,
    ) -> Result<PendingReply, PublishError> {
        let outgoing = Outgoing::new(&self.publisher.namespace, message)?;
        let reply = self.replies.expect_one().ok_or(NotSentReason::Full)?;
        let request = outgoing.into_request(DIRECT_REPLY_TO.into(), reply.correlation_id().into());
        self.publisher.send(request, within).await?;
        Ok(reply)
    }

    /// Waits until no request is queued or in flight, but no longer than `within`.
    pub async fn drain(&self, within: Duration) {
        self.publisher.drain(within).await;
    }
}
