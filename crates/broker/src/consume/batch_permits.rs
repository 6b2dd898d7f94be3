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
/// batches grow with the load by themselves.
pub(super) struct BatchPermits {
    in_flight: Arc<Semaphore>,
    not_stuck: Arc<Semaphore>,
}

pub(super) struct BatchPermit {
    _in_flight: OwnedSemaphorePermit,
    not_stuck: OwnedSemaphorePermit,
}

impl BatchPermits {
    pub(super) fn new(in_flight: usize, batch_max: usize) -> Self {
        let in_flight = in_flight.max(1);
        // Single deliveries gain nothing from each other.
        let not_stuck = if batch_max > 1 { 1 } else { in_flight };
        Self {
            in_flight: Arc::new(Semaphore::new(in_flight)),
            not_stuck: Arc::new(Semaphore::new(not_stuck)),
        }
    }

    /// `None` never happens: nothing closes the semaphores.
    pub(super) async fn acquire(&self) -> Option<BatchPermit> {
        Some(BatchPermit {
            _in_flight: Arc::clone(&self.in_flight).acquire_owned().await.ok()?,
            not_stuck: Arc::clone(&self.not_stuck).acquire_owned().await.ok()?,
        })
    }
}

impl BatchPermit {
    pub(super) async fn hold_during(self, handling: impl Future<Output = ()>) {
        let mut handling = pin!(handling);
        if timeout(STUCK_AFTER, &mut handling).await.is_err() {
            drop(self.not_stuck);
            handling.await;
        }
    }
}
