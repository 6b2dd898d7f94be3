//! What a consumer's user provides: a handler, and its outcome for each delivery.

use std::future::Future;
use std::time::Duration;

use crate::consume::delivery::Delivery;

/// What happened to a delivery; there is no other case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Handled, and what had to be stored is committed.
    Done,
    /// To be delivered again after at least this long; costs no attempt. Rounded up to 5 s, 30 s,
    /// 2 min or 10 min, which is the longest.
    Snooze(Duration),
    /// Failed: to be delivered again after the next longer of these delays, at the cost of one
    /// attempt. After the last attempt it is parked with this reason.
    Retry {
        /// For an operator; must not quote the body. Cut at 500 bytes.
        reason: String,
    },
    /// Repeating cannot help: to the parked (dead-letter) queue, for an operator.
    Park {
        /// For an operator; must not quote the body. Cut at 500 bytes.
        reason: String,
    },
}

/// Handles deliveries. Must be idempotent: the same delivery may come twice, even concurrently.
pub trait Handler: Send + Sync + 'static {
    /// Returns one outcome per delivery, in the same order. Never cancelled.
    ///
    /// If it panics or returns another number of outcomes, it is called again for each delivery of
    /// the batch alone, so that one delivery cannot fail the others. A delivery for which it fails
    /// alone counts as [`Outcome::Retry`].
    fn handle(&self, batch: Vec<Delivery>) -> impl Future<Output = Vec<Outcome>> + Send;
}
