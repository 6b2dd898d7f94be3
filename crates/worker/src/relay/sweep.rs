//! Takes events from the outbox that are due: their writer died, the broker was away, there was no
//! space for them in memory, or their pause has ended. In a task of its own, so that its turn comes
//! whatever the load.

use std::sync::Arc;
use std::time::Duration;

use broker::Connection;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::lanes::SweepCapacity;
use super::limits::{REPLAYS_MAX, SWEPT_MAX, SWEPT_MAX_OF_ALL};
use crate::failpoint;
use crate::store::{Due, Store, StoreError, TakeLimits};

/// With the five seconds that the sweep leaves to the writer, the longest wait of an event whose
/// writer has died.
const INTERVAL: Duration = Duration::from_secs(1);

pub(super) struct Sweep {
    pub(super) store: Store,
    /// Unless all are up, rows taken over here could only delay other workers.
    pub(super) connections: [Connection; 2],
    pub(super) capacity: mpsc::Sender<oneshot::Sender<SweepCapacity>>,
    pub(super) swept: mpsc::Sender<Vec<Due>>,
    /// Notified when the relay has space that it did not have before.
    pub(super) wanted: Arc<Notify>,
}

impl Sweep {
    /// Sweeps until `stop`, or until the relay has ended.
    pub(super) async fn run(self, stop: CancellationToken) {
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = interval.tick() => {}
                () = self.wanted.notified() => {}
            }
            if !self.connections.iter().all(Connection::is_up) {
                continue;
            }
            let Some(capacity) = self.ask_capacity().await else { return };
            match self.take(capacity).await {
                Ok(due) if due.is_empty() => {}
                Ok(due) => {
                    failpoint::reached("relay.swept");
                    if self.swept.send(due).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "the outbox could not be swept; it is tried again");
                }
            }
        }
    }

    async fn ask_capacity(&self) -> Option<SweepCapacity> {
        let (sender, answer) = oneshot::channel();
        self.capacity.send(sender).await.ok()?;
        answer.await.ok()
    }

    /// Replays come when everything else is taken.
    async fn take(&self, capacity: SweepCapacity) -> Result<Vec<Due>, StoreError> {
        let mut limits = TakeLimits {
            replays: false,
            excluded: capacity.full,
            per_merchant: SWEPT_MAX as i64,
            events: SWEPT_MAX_OF_ALL as i64,
        };
        let mut due = Vec::new();
        if capacity.swept {
            due = self.store.take_due(&limits).await?;
        }
        if capacity.swept && capacity.replays && due.len() < SWEPT_MAX {
            limits.replays = true;
            limits.per_merchant = REPLAYS_MAX as i64;
            limits.events = REPLAYS_MAX as i64;
            // What was taken before counts, even if this fails.
            match self.store.take_due(&limits).await {
                Ok(replays) => due.extend(replays),
                Err(error) => tracing::warn!(%error, "replays could not be taken"),
            }
        }
        Ok(due)
    }
}
