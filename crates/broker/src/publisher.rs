//! Publishing with confirms.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

mod actor;
mod channel;
mod job;

use actor::Actor;
use job::{Job, Pending};

use crate::{
    Connection, ConnectionState, Message, Namespace,
    outgoing::Outgoing,
    replies::{DIRECT_REPLY_TO, PendingReply, Replies},
    sender::Us,
};

/// What a publisher holds at most.
#[derive(Clone, Copy, Debug)]
pub struct PublisherLimits {
    /// Messages waiting to be written; one more is refused with [`NotSentReason::Full`].
    pub queued: usize,
    /// Messages written and not yet confirmed; beyond that they wait in the queue.
    pub in_flight: usize,
}

/// What became of a message that was not confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// It was never written to the socket: nobody has it.
    #[error("not sent: {0}")]
    NotSent(NotSentReason),
    /// The broker has it not: it said so.
    #[error("refused by the broker")]
    Refused,
    /// Written, or possibly so, but not confirmed in time or before the connection was lost. It
    /// may be there, it may still arrive. Repeat it under the same `message_id`.
    #[error("unknown: not confirmed")]
    Unknown,
}

/// Why a message was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSentReason {
    /// There is no usable connection.
    #[error("no broker")]
    NoBroker,
    /// The broker is short of memory or disk and takes nothing.
    #[error("the broker takes nothing at present")]
    Blocked,
    /// Too many are waiting already.
    #[error("too many messages are waiting")]
    Full,
    /// It was still waiting when its time was up.
    #[error("its time was up before its turn came")]
    TooLate,
    /// No broker would take it.
    #[error("{0}")]
    Invalid(&'static str),
}

impl From<NotSentReason> for PublishError {
    fn from(reason: NotSentReason) -> Self {
        Self::NotSent(reason)
    }
}

/// A handle on one publishing channel. Clones share it; the channel goes when the last one does.
#[derive(Clone)]
pub struct Publisher {
    namespace: Namespace,
    us: Us,
    state: watch::Receiver<ConnectionState>,
    jobs: mpsc::Sender<Job>,
    pending: Pending,
    in_flight: Arc<AtomicUsize>,
}

/// A publisher of requests that also takes their replies. Clones share its channel.
///
/// Direct reply-to requires that the channel which publishes a request is the one that consumes
/// its reply.
#[derive(Clone)]
pub struct Requester {
    publisher: Publisher,
    replies: Replies,
}

impl Publisher {
    /// Starts publishing on a channel of its own, which is opened anew whenever the link is.
    pub fn start(connection: Connection, limits: PublisherLimits) -> Self {
        Self::start_on(connection, limits, None)
    }

    fn start_on(connection: Connection, limits: PublisherLimits, replies: Option<Replies>) -> Self {
        let (jobs, queue) = mpsc::channel(limits.queued.max(1));
        let in_flight = Arc::default();
        let publisher = Self {
            namespace: connection.namespace().clone(),
            us: Us::on(&connection),
            state: connection.state(),
            jobs,
            pending: Pending::default(),
            in_flight: Arc::clone(&in_flight),
        };
        tokio::spawn(Actor::new(connection, queue, limits.in_flight, in_flight, replies).run());
        publisher
    }

    /// Publishes, and returns once the broker has taken the message over.
    ///
    /// Dropping the future changes nothing about the message: it goes out if its turn comes.
    pub async fn publish(&self, message: Message, within: Duration) -> Result<(), PublishError> {
        self.send(Outgoing::new(&self.namespace, message)?, within).await
    }

    /// The name on everything that is published here.
    pub(crate) fn us(&self) -> &Us {
        &self.us
    }

    pub(crate) async fn send(
        &self,
        outgoing: Outgoing,
        within: Duration,
    ) -> Result<(), PublishError> {
        let outgoing = outgoing.signed(&self.us);
        match *self.state.borrow() {
            ConnectionState::Up => {}
            ConnectionState::Blocked => return Err(NotSentReason::Blocked.into()),
            ConnectionState::Down => return Err(NotSentReason::NoBroker.into()),
        }
        let (job, ticket) = Job::new(outgoing, self.pending.one_more());
        self.jobs.try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => NotSentReason::Full,
            // Only when the runtime is going away.
            mpsc::error::TrySendError::Closed(_) => NotSentReason::NoBroker,
        })?;
        ticket.wait(within).await
    }

    /// Waits until nothing is queued and nothing in flight, but no longer than `within`.
    pub async fn drain(&self, within: Duration) {
        let _ = timeout(within, self.pending.none_left()).await;
    }

    /// How many messages are written and not yet confirmed.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }
}

impl Requester {
    /// Starts on a channel of its own, which is opened again after each reconnect.
    pub fn start(connection: Connection, limits: PublisherLimits) -> Self {
        let replies = Replies::default();
        let publisher = Publisher::start_on(connection, limits, Some(replies.clone()));
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
        let request = outgoing.with_reply(DIRECT_REPLY_TO.into(), reply.correlation_id().into());
        self.publisher.send(request, within).await?;
        Ok(reply)
    }

    /// As [`Publisher::drain`].
    pub async fn drain(&self, within: Duration) {
        self.publisher.drain(within).await;
    }
}
