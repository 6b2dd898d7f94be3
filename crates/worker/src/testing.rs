//! What tests alone need of the worker.

use crate::config::DatabaseUrl;
use crate::schedule::CheckSchedule;
use crate::store::{OutboxNotifier, Store};

/// Removes old rows once, as a running worker does from time to time. Returns how many.
///
/// # Errors
/// When the database refuses.
pub async fn remove_old_rows(database_url: &DatabaseUrl) -> anyhow::Result<u64> {
    let outbox = OutboxNotifier::disconnected();
    let store = Store::open(database_url.expose(), outbox, CheckSchedule::default())?;
    let removed = store.remove_old().await;
    store.close().await;
    Ok(removed?)
}
