//! Messages to the broker, and the worker's replies.

use std::time::Duration;

use broker::{
    Connection, ConnectionState, Message, NotSentReason, PublishError, Publisher, PublisherLimits,
    Requester,
};
use service::metrics::names;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::Limits;
use crate::worker_reply::WorkerReply;

/// Twice the bound on requests in flight, because a caller that gave up leaves its message in the
/// queue until it is sent. With bodies of 64 KiB that is 64 MiB at most.
const PUBLISHER_LIMITS: PublisherLimits = PublisherLimits { queued: 1024, in_flight: 1000 };

/// The connection to the broker with its two channels: one for messages that need only a confirm,
/// one for those that also need a reply.
pub(crate) struct Outbound {
    connection: Connection,
    publisher: Publisher,
    requester: Requester,
    limits: Limits,
    stop: CancellationToken,
}

impl Outbound {
    pub(crate) fn start(connection: Connection, limits: Limits, stop: CancellationToken) -> Self {
        Self {
            publisher: Publisher::start(connection.clone(), PUBLISHER_LIMITS),
            requester: Requester::start(connection.clone(), PUBLISHER_LIMITS),
            connection,
            limits,
            stop,
        }
    }

    pub(crate) fn state(&self) -> ConnectionState {
        self.connection.current_state()
    }

    /// Publishes and waits for the broker's confirm.
    pub(crate) async fn publish(
        &self,
        message: Message,
        within: Duration,
    ) -> Result<(), PublishError> {
        let published = self.publisher.publish(message, within).await;
        // A test has the process die here, between the confirm and the answer.
        fail::fail_point!("ingress.confirmed", |_| std::process::abort());
        published.inspect_err(count_shed)
    }

    /// Publishes, waits for the broker's confirm, and then for a worker's reply. `None`: confirmed,
    /// and no reply arrived by `reply_by`.
    pub(crate) async fn request(
        &self,
        message: Message,
        within: Duration,
        reply_by: Instant,
    ) -> Result<Option<WorkerReply>, PublishError> {
        let requested = self.requester.request(message, within).await;
        let pending = requested.inspect_err(count_shed)?;
        let reply = tokio::select! {
            reply = pending.wait(reply_by.saturating_duration_since(Instant::now())) => reply,
            () = self.stop_waiting() => None,
        };
        let reply = reply.and_then(|bytes| {
            let reply = WorkerReply::parse(&bytes);
            if reply.is_none() {
                tracing::error!("ignored a malformed reply of a worker");
            }
            reply
        });
        Ok(reply)
    }

    /// Waits for the confirms that are still open.
    pub(crate) async fn drain(&self) {
        let within = self.limits.drain_timeout;
        tokio::join!(self.publisher.drain(within), self.requester.drain(within));
    }

    /// Returns half of the drain time after `stop`: a client is better off with "accepted" than
    /// with a closed connection.
    async fn stop_waiting(&self) {
        self.stop.cancelled().await;
        sleep(self.limits.drain_timeout / 2).await;
    }
}

fn count_shed(error: &PublishError) {
    let reason = match error {
        PublishError::NotSent(NotSentReason::NoBroker) => "no_broker",
        PublishError::NotSent(NotSentReason::Blocked) => "blocked",
        PublishError::NotSent(NotSentReason::Full) => "queue_full",
        PublishError::NotSent(NotSentReason::TooLate) => "too_late",
        PublishError::NotSent(NotSentReason::Invalid(_)) => "invalid",
        PublishError::Refused => "refused",
        PublishError::Unknown => "unknown",
    };
    metrics::counter!(names::SHED, "reason" => reason).increment(1);
}
