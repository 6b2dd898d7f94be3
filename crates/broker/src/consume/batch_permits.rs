//! When the next batch begins.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Longer than a transaction about a full batch takes where Postgres is near and not overloaded.
const STUCK_AFTER: Duration = Duration::from_millis(100);

/// Bounds the batches in flight. While one is being handled, what arrives makes the next one, so
/// batches grow with the load by themselves. The next begins beside one that is full, because that
/// cannot grow, and beside one that is stuck, for example at a locked row.
#[derive(Debug)]
pub struct BatchPermits {
    batch_max: usize,
    in_flight: Arc<Semaphore>,
    growing: Arc<Semaphore>,
}

/// Lets one batch begin.
#[derive(Debug)]
pub struct BatchPermit {
    batch_max: usize,
    _in_flight: OwnedSemaphorePermit,
    growing: OwnedSemaphorePermit,
}

impl BatchPermits {
    /// For batches of at most `batch_max`, of which at most `in_flight` are handled at once.
    pub fn new(in_flight: usize, batch_max: usize) -> Self {
        Self {
            batch_max,
            in_flight: Arc::new(Semaphore::new(in_flight.max(1))),
            growing: Arc::new(Semaphore::new(1)),
        }
    }

    /// Waits until the next batch may be taken. `None` never happens: nothing closes the semaphores.
    pub async fn acquire(&self) -> Option<BatchPermit> {
        Some(BatchPermit {
            batch_max: self.batch_max,
            _in_flight: Arc::clone(&self.in_flight).acquire_owned().await.ok()?,
            growing: Arc::clone(&self.growing).acquire_owned().await.ok()?,
        })
    }
}

impl BatchPermit {
    /// Handles a batch of this length to its end: nothing here cancels it.
    pub async fn hold_during(self, length: usize, handling: impl Future<Output = ()>) {
        let mut handling = pin!(handling);
        let is_full = length >= self.batch_max;
        if is_full || timeout(STUCK_AFTER, &mut handling).await.is_err() {
            drop(self.growing);
            handling.await;
        }
    }
}
