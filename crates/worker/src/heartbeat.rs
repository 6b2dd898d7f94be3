//! Reports that this worker runs, and learns how many do: they share each merchant's rate.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::gateway::Gateway;
use crate::store::{Rates, Store, StoreError};

/// Three reports in the time for which one counts.
const INTERVAL: Duration = Duration::from_secs(3);
/// How long fewer workers must be seen before fewer share the rate: after an outage of the database
/// each worker sees at first only those that have reported before it.
const FEWER_AFTER: Duration = Duration::from_secs(10);

/// The row of this worker in the table `workers`.
pub(crate) struct Heartbeat {
    id: Uuid,
    store: Store,
    gateway: Gateway,
    count: WorkerCount,
}

/// The workers that share the rates.
#[derive(Debug)]
struct WorkerCount {
    workers: u32,
    fewer_since: Option<Instant>,
}

impl Heartbeat {
    pub(crate) fn new(store: Store, gateway: Gateway) -> Self {
        let count = WorkerCount { workers: 1, fewer_since: None };
        Self { id: Uuid::now_v7(), store, gateway, count }
    }

    /// Reports twice, because the rates depend on how many run, and then again and again in a task
    /// that withdraws the report after `stop`.
    pub(crate) async fn start(mut self, stop: CancellationToken) -> JoinHandle<()> {
        self.report().await;
        self.report().await;
        tokio::spawn(self.run(stop))
    }

    async fn run(mut self, stop: CancellationToken) {
        while stop.run_until_cancelled(sleep(INTERVAL)).await.is_some() {
            self.report().await;
        }
        if let Err(error) = self.store.remove_worker(self.id).await {
            tracing::debug!(%error, "the heartbeat of this worker ends in ten seconds");
        }
    }

    /// While the database is away, the last known number of workers holds.
    async fn report(&mut self) {
        if let Err(error) = self.try_report().await {
            tracing::warn!(%error, "this worker's heartbeat could not be stored");
        }
    }

    async fn try_report(&mut self) -> Result<(), StoreError> {
        let rates: Rates =
            self.gateway.rates().into_iter().map(|(id, rate)| (id.to_string(), rate)).collect();
        let seen = self.store.report_worker(self.id, &rates).await?;
        self.gateway.set_workers(self.count.update(seen, Instant::now()));
        Ok(())
    }
}

impl WorkerCount {
    /// More workers count at once, fewer after [`FEWER_AFTER`].
    fn update(&mut self, seen: u32, now: Instant) -> u32 {
        let is_fewer = seen < self.workers;
        if is_fewer && now.duration_since(*self.fewer_since.get_or_insert(now)) < FEWER_AFTER {
            return self.workers;
        }
        *self = Self { workers: seen, fewer_since: None };
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_workers_share_only_after_a_while() {
        let start = Instant::now();
        let mut count = WorkerCount { workers: 1, fewer_since: None };
        let mut at = |seconds, seen| count.update(seen, start + Duration::from_secs(seconds));
        assert_eq!(at(0, 3), 3, "more count at once");
        assert_eq!([at(3, 1), at(6, 2), at(12, 2)], [3; 3]);
        assert_eq!(at(13, 2), 2);
        assert_eq!(at(16, 1), 2);
        assert_eq!(at(19, 2), 2, "seen again");
        assert_eq!([at(22, 1), at(31, 1)], [2; 2]);
        assert_eq!(at(32, 1), 1);
    }
}
