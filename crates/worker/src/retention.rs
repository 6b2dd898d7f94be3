//! Removes old rows from the tables that keep evidence.

use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::store::Store;

const INTERVAL: Duration = Duration::from_secs(600);

pub(crate) async fn run(store: Store, stop: CancellationToken) {
    while stop.run_until_cancelled(sleep(INTERVAL)).await.is_some() {
        if let Err(error) = store.remove_old().await {
            tracing::warn!(%error, "old evidence could not be removed; it is tried again");
        }
    }
}
