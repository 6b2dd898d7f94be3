//! What the worker gives us: somebody who acts on deliveries and says what came of each.

use std::{future::Future, time::Duration};

use crate::Delivery;

/// What came of a delivery. There is no fifth thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Acted upon, and what had to be stored is committed.
    Done,
    /// Come back later, no sooner than this; it costs no attempt. Rounded up to the ladder of
    /// 5 s, 30 s, 2 min and 10 min, which also is the longest.
    Snooze(Duration),
    /// Failed for now: come back up the same ladder, at the cost of one attempt. When there is
    /// none left, it is parked with this reason.
    Retry {
        /// For a human; must not quote the body. Cut at 500 bytes.
        reason: String,
    },
    /// Nothing will make it work but a human.
    Park {
        /// For that human; must not quote the body. Cut at 500 bytes.
        reason: String,
    },
}

/// Acts on deliveries. Must bear seeing the same one twice, also at the same time.
pub trait Handler: Send + Sync + 'static {
    /// One outcome for each delivery, in the same order. Never cancelled.
    ///
    /// If it panics or answers with another number of outcomes, each delivery of the batch is
    /// handed to it again by itself, so that one cannot fail its neighbours; a delivery that does
    /// so alone counts as [`Outcome::Retry`].
    fn handle(&self, batch: Vec<Delivery>) -> impl Future<Output = Vec<Outcome>> + Send;
}
