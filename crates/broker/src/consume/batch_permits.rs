//! When the next batch is taken.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Longer than a transaction about a full batch takes where Postgres is near and not overloaded. A batch beyond it is stuck, for example at a
/// locked row, and no longer delays the next one.
const STUCK_AFTER: Duration = Duration::from_millis(100);

/// Bounds the batches in flight. While one is being handled, what arrives makes the next one, so
/// batches grow with the load by themselves. A full one cannot grow, and the next begins beside it.
pub(super) struct BatchPermits {
    batch_max: usize,
    in_flight: Arc<Semaphore>,
    not_stuck: Arc<Semaphore>,
}

pub(super) struct BatchPermit {
    _in_flight: OwnedSemaphorePermit,
    not_stuck: OwnedSemaphorePermit,
    batch_max: usize,
}

impl BatchPermits {
    pub(super) fn new(in_flight: usize, batch_max: usize) -> Self {
        let in_flight = in_flight.max(1);
        // Single deliveries gain nothing from each other.
        let not_stuck = if batch_max > 1 { 1 } else { in_flight };
        Self {
            batch_max,
            in_flight: Arc::new(Semaphore::new(in_flight)),
            not_stuck: Arc::new(Semaphore::new(not_stuck)),
        }
    }

    /// `None` never happens: nothing closes the semaphores.
    pub(super) async fn acquire(&self) -> Option<BatchPermit> {
        Some(BatchPermit {
            _in_flight: Arc::clone(&self.in_flight).acquire_owned().await.ok()?,
            not_stuck: Arc::clone(&self.not_stuck).acquire_owned().await.ok()?,
            batch_max: self.batch_max,
        })
    }
}

impl BatchPermit {
    /// Handles a batch with so many deliveries.
    pub(super) async fn hold_during(self, len: usize, handling: impl Future<Output = ()>) {
        let mut handling = pin!(handling);
        let is_full = len >= self.batch_max;
        if is_full || timeout(STUCK_AFTER, &mut handling).await.is_err() {
            drop(self.not_stuck);
            handling.await;
        }
    }
}
