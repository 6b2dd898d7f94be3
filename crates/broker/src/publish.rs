//! Publishing with confirms, on one channel per publisher.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tracing::Instrument;

mod channel;
pub(crate) mod error;
pub(crate) mod message;
pub(crate) mod outgoing;
pub(crate) mod replier;
pub(crate) mod replies;
mod request;
pub(crate) mod requester;
mod task;

use crate::connection::Connection;
use crate::connection::session::ConnectionState;
use crate::namespace::Namespace;
use crate::publish::error::{NotSentReason, PublishError};
use crate::publish::message::Message;
use crate::publish::outgoing::Outgoing;
use crate::publish::replies::Replies;
use crate::publish::request::{PendingCount, PublishRequest};
use crate::publish::task::{PublishStatus, PublishTask};
use crate::user::BrokerUser;

/// What a publisher holds at most.
#[derive(Clone, Copy, Debug)]
pub struct PublisherLimits {
    /// Messages waiting to be written; one more is refused with [`NotSentReason::Full`].
    pub queued: usize,
    /// Messages written and not yet confirmed; more of them wait in the queue.
    pub in_flight: usize,
}

/// A handle on one publishing channel. Clones share it; the channel closes with the last of them.
#[derive(Clone)]
pub struct Publisher {
    namespace: Namespace,
    user: BrokerUser,
    state: watch::Receiver<ConnectionState>,
    requests: mpsc::Sender<PublishRequest>,
    pending: PendingCount,
    status: Arc<PublishStatus>,
}

impl Publisher {
    /// Starts publishing on a channel of its own, which is opened again after each reconnect.
    pub fn start(connection: Connection, limits: PublisherLimits) -> Self {
        Self::start_with(connection, limits, None)
    }

    fn start_with(
        connection: Connection,
        limits: PublisherLimits,
        replies: Option<Replies>,
    ) -> Self {
        let (requests, queue) = mpsc::channel(limits.queued.max(1));
        let status = Arc::default();
        let publisher = Self {
            namespace: connection.namespace().clone(),
            user: BrokerUser::of(connection.config()),
            state: connection.state(),
            requests,
            pending: PendingCount::default(),
            status: Arc::clone(&status),
        };
        let task = PublishTask::new(connection, queue, limits.in_flight, status, replies);
        tokio::spawn(task.run());
        publisher
    }

    /// Publishes, and returns once the broker has confirmed the message.
    ///
    /// Dropping the future does not recall the message: it is still written when its turn comes.
    pub async fn publish(&self, message: Message, within: Duration) -> Result<(), PublishError> {
        self.send(Outgoing::new(&self.namespace, message)?, within).await
    }

    /// Waits until nothing is queued and nothing in flight, but no longer than `within`.
    pub async fn drain(&self, within: Duration) {
        let _ = timeout(within, self.pending.reaches_zero()).await;
    }

    /// How many messages are written and not yet confirmed.
    pub fn in_flight(&self) -> usize {
        self.status.in_flight.load(Ordering::Relaxed)
    }

    /// How many of its channels have ended so far: the present one is another one when this has
    /// grown.
    pub fn channels_ended(&self) -> u64 {
        self.status.channels_ended.load(Ordering::Relaxed)
    }

    /// The user on everything that is published here.
    pub(crate) fn user(&self) -> &BrokerUser {
        &self.user
    }

    pub(crate) async fn send(
        &self,
        outgoing: Outgoing,
        within: Duration,
    ) -> Result<(), PublishError> {
        let span = outgoing.span();
        self.send_and_confirm(outgoing, within).instrument(span).await
    }

    async fn send_and_confirm(
        &self,
        outgoing: Outgoing,
        within: Duration,
    ) -> Result<(), PublishError> {
        let outgoing = outgoing.signed(&self.user);
        match *self.state.borrow() {
            ConnectionState::Up => {}
            ConnectionState::Blocked => return Err(NotSentReason::Blocked.into()),
            ConnectionState::Down => return Err(NotSentReason::NoBroker.into()),
        }
        let (request, future) = PublishRequest::new(outgoing, self.pending.guard());
        self.requests.try_send(request).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => NotSentReason::Full,
            // Only while the runtime shuts down.
            mpsc::error::TrySendError::Closed(_) => NotSentReason::NoBroker,
        })?;
        future.wait(within).await
    }
}
