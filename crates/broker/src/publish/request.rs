//! One message on its way through the publisher: the publisher's end and the caller's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::timeout;
use tracing::Span;

use crate::publish::error::{NotSentReason, PublishError};
use crate::publish::outgoing::Outgoing;

type PublishResult = Result<(), PublishError>;

/// The publisher's end of one message.
pub(super) struct PublishRequest {
    outgoing: Outgoing,
    ownership: Ownership,
    completion: Completion,
}

/// Reports the result to the caller. Dropping it reports [`PublishError::Unknown`].
pub(super) struct Completion {
    result: oneshot::Sender<PublishResult>,
    span: Span,
    _pending: PendingGuard,
}

/// The end on which the caller awaits the result.
pub(super) struct PublishFuture {
    ownership: Ownership,
    result: oneshot::Receiver<PublishResult>,
}

impl PublishRequest {
    /// Log lines about the request belong to the current span.
    pub(super) fn new(outgoing: Outgoing, pending: PendingGuard) -> (Self, PublishFuture) {
        let ownership = Ownership::default();
        let (sender, result) = oneshot::channel();
        let completion = Completion { result: sender, span: Span::current(), _pending: pending };
        let future = PublishFuture { ownership: ownership.clone(), result };
        (Self { outgoing, ownership, completion }, future)
    }

    /// Takes the message to write it, unless the caller has given up. From here on the message can
    /// no longer be reported as not sent.
    pub(super) fn take(self) -> Option<(Outgoing, Completion)> {
        self.ownership.claim(WRITTEN).then_some((self.outgoing, self.completion))
    }

    /// Reports that the message was not sent.
    pub(super) fn refuse(self, reason: NotSentReason) {
        if let Some((_, completion)) = self.take() {
            completion.complete(Err(reason.into()));
        }
    }
}

impl Completion {
    pub(super) fn span(&self) -> Span {
        self.span.clone()
    }

    pub(super) fn complete(self, result: PublishResult) {
        // Fails when the caller has gone.
        let _ = self.result.send(result);
    }
}

impl PublishFuture {
    pub(super) async fn wait(mut self, within: Duration) -> PublishResult {
        match timeout(within, &mut self.result).await {
            Ok(Ok(result)) => result,
            // The task dropped the request, which happens only while the runtime shuts down.
            Ok(Err(_dropped)) if self.ownership.claim(ABANDONED) => {
                Err(NotSentReason::NoBroker.into())
            }
            Ok(Err(_dropped)) => Err(PublishError::Unknown),
            Err(_elapsed) if self.ownership.claim(ABANDONED) => Err(NotSentReason::TooLate.into()),
            // Written; the result may have come in this very moment.
            Err(_elapsed) => self.result.try_recv().unwrap_or(Err(PublishError::Unknown)),
        }
    }
}

const QUEUED: u8 = 0;
const WRITTEN: u8 = 1;
const ABANDONED: u8 = 2;

/// Decides the race between the publisher that writes the message and the caller that gives up:
/// the first claim wins.
#[derive(Clone, Default)]
struct Ownership(Arc<AtomicU8>);

impl Ownership {
    fn claim(&self, state: u8) -> bool {
        self.0.compare_exchange(QUEUED, state, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// Counts the messages between `publish` and its result.
#[derive(Clone, Default)]
pub(super) struct PendingCount(Arc<watch::Sender<usize>>);

impl PendingCount {
    pub(super) fn guard(&self) -> PendingGuard {
        self.0.send_modify(|count| *count += 1);
        PendingGuard(self.clone())
    }

    pub(super) async fn reaches_zero(&self) {
        let _ = self.0.subscribe().wait_for(|count| *count == 0).await;
    }
}

pub(super) struct PendingGuard(PendingCount);

impl Drop for PendingGuard {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| *count -= 1);
    }
}
