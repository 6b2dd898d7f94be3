//! Reports that this worker runs, and learns how many do: they share each merchant's rate.

use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::gateway::Gateway;
use crate::store::{Rates, Store, StoreError};

/// Three reports may fail before the others count this worker no more.
const INTERVAL: Duration = Duration::from_secs(3);

/// The row of this worker in the table `workers`.
pub(crate) struct Heartbeat {
    id: Uuid,
    store: Store,
    gateway: Gateway,
}

impl Heartbeat {
    pub(crate) fn new(store: Store, gateway: Gateway) -> Self {
        Self { id: Uuid::now_v7(), store, gateway }
    }

    /// Reports once, then again and again in a task that withdraws the report after `stop`.
    pub(crate) async fn start(self, stop: CancellationToken) {
        self.report().await;
        tokio::spawn(self.run(stop));
    }

    async fn run(self, stop: CancellationToken) {
        while stop.run_until_cancelled(sleep(INTERVAL)).await.is_some() {
            self.report().await;
        }
        if let Err(error) = self.store.remove_worker(self.id).await {
            tracing::debug!(%error, "the heartbeat of this worker ends in ten seconds");
        }
    }

    /// While the database is away, the last known number of workers holds.
    async fn report(&self) {
        if let Err(error) = self.try_report().await {
            tracing::warn!(%error, "this worker's heartbeat could not be stored");
        }
    }

    async fn try_report(&self) -> Result<(), StoreError> {
        let rates: Rates =
            self.gateway.rates().into_iter().map(|(id, rate)| (id.to_string(), rate)).collect();
        let workers = self.store.report_worker(self.id, &rates).await?;
        self.gateway.set_workers(workers);
        Ok(())
    }
}
