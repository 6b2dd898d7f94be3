//! One message on its way through the publisher, seen from both ends.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{oneshot, watch},
    time::timeout,
};

use super::{NotSentReason, PublishError};
use crate::outgoing::Outgoing;

type Answer = Result<(), PublishError>;

/// The publisher's end.
pub(super) struct Job {
    outgoing: Outgoing,
    claim: Claim,
    slip: Slip,
}

/// What is left of a job when its message is on the wire: whom to tell.
pub(super) struct Slip {
    answer: oneshot::Sender<Answer>,
    _pending: OneMore,
}

/// The caller's end.
pub(super) struct Ticket {
    claim: Claim,
    answer: oneshot::Receiver<Answer>,
}

impl Job {
    pub(super) fn new(outgoing: Outgoing, pending: OneMore) -> (Self, Ticket) {
        let (claim, (answer, receiver)) = (Claim::default(), oneshot::channel());
        let ticket = Ticket { claim: claim.clone(), answer: receiver };
        (Self { outgoing, claim, slip: Slip { answer, _pending: pending } }, ticket)
    }

    /// Takes the message to write it, unless the caller has given up. From here on it can no
    /// longer be said that nothing was sent.
    pub(super) fn take(self) -> Option<(Outgoing, Slip)> {
        self.claim.settle(TAKEN).then_some((self.outgoing, self.slip))
    }

    /// Tells the caller that the message was not sent.
    pub(super) fn refuse(self, reason: NotSentReason) {
        if let Some((_, slip)) = self.take() {
            slip.answer(Err(reason.into()));
        }
    }
}

impl Slip {
    /// The caller may have gone; then nobody wants to know.
    pub(super) fn answer(self, answer: Answer) {
        let _ = self.answer.send(answer);
    }
}

impl Ticket {
    pub(super) async fn wait(mut self, within: Duration) -> Answer {
        match timeout(within, &mut self.answer).await {
            Ok(Ok(answer)) => answer,
            // The actor went away with the job, which happens only when the runtime goes.
            Ok(Err(_dropped)) if self.claim.settle(ABANDONED) => {
                Err(NotSentReason::NoBroker.into())
            }
            Ok(Err(_dropped)) => Err(PublishError::Unknown),
            Err(_elapsed) if self.claim.settle(ABANDONED) => Err(NotSentReason::TooLate.into()),
            // Written; the answer may have come in this very moment.
            Err(_elapsed) => self.answer.try_recv().unwrap_or(Err(PublishError::Unknown)),
        }
    }
}

const QUEUED: u8 = 0;
const TAKEN: u8 = 1;
const ABANDONED: u8 = 2;

/// Whoever settles it first wins: the publisher by taking the job, or the caller by giving up.
#[derive(Clone, Default)]
struct Claim(Arc<AtomicU8>);

impl Claim {
    fn settle(&self, state: u8) -> bool {
        self.0.compare_exchange(QUEUED, state, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// Counts the messages between `publish` and its answer.
#[derive(Clone, Default)]
pub(super) struct Pending(Arc<watch::Sender<usize>>);

impl Pending {
    pub(super) fn one_more(&self) -> OneMore {
        self.0.send_modify(|count| *count += 1);
        OneMore(self.clone())
    }

    pub(super) async fn none_left(&self) {
        let _ = self.0.subscribe().wait_for(|count| *count == 0).await;
    }
}

/// Counted until dropped.
pub(super) struct OneMore(Pending);

impl Drop for OneMore {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| *count -= 1);
    }
}
