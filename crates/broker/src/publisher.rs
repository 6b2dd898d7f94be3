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
    Link, LinkState, Message, Namespace,
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
    state: watch::Receiver<LinkState>,
    jobs: mpsc::Sender<Job>,
    pending: Pending,
    in_flight: Arc<AtomicUsize>,
    replies: Option<Replies>,
}

impl Publisher {
    /// Starts publishing on a channel of its own, which is opened anew whenever the link is.
    pub fn start(link: Link, limits: PublisherLimits) -> Self {
        Self::start_on(link, limits, None)
    }

    /// The same, and questions can be asked: direct reply-to demands that the channel which
    /// publishes a question is the one which consumes the answer.
    pub fn start_with_replies(link: Link, limits: PublisherLimits) -> Self {
        Self::start_on(link, limits, Some(Replies::default()))
    }

    fn start_on(link: Link, limits: PublisherLimits, replies: Option<Replies>) -> Self {
        let (jobs, queue) = mpsc::channel(limits.queued.max(1));
        let in_flight = Arc::default();
        let publisher = Self {
            namespace: link.namespace().clone(),
            us: Us::on(&link),
            state: link.state(),
            jobs,
            pending: Pending::default(),
            in_flight: Arc::clone(&in_flight),
            replies: replies.clone(),
        };
        tokio::spawn(Actor::new(link, queue, limits.in_flight, in_flight, replies).run());
        publisher
    }

    /// Publishes, and returns once the broker has taken the message over.
    ///
    /// Dropping the future changes nothing about the message: it goes out if its turn comes.
    pub async fn publish(&self, message: Message, within: Duration) -> Result<(), PublishError> {
        self.send(Outgoing::new(&self.namespace, message)?, within).await
    }

    /// Publishes a question. Returns once the broker has taken it over, with a handle on which
    /// to await the answer.
    ///
    /// Only for a publisher made by [`Publisher::start_with_replies`].
    pub async fn ask(
        &self,
        message: Message,
        within: Duration,
    ) -> Result<PendingReply, PublishError> {
        let replies = self.replies.as_ref();
        let replies = replies.ok_or(NotSentReason::Invalid("this publisher takes no answers"))?;
        let outgoing = Outgoing::new(&self.namespace, message)?;
        let reply = replies.expect_one().ok_or(NotSentReason::Full)?;
        let question = outgoing.with_reply(DIRECT_REPLY_TO.into(), reply.correlation_id().into());
        self.send(question, within).await?;
        Ok(reply)
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
            LinkState::Up => {}
            LinkState::Blocked => return Err(NotSentReason::Blocked.into()),
            LinkState::Down => return Err(NotSentReason::NoBroker.into()),
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
