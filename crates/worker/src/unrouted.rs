//! Sends unrouted messages back to where they were meant to go.

use std::time::Duration;

use broker::Connection;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// A message in `unrouted` was published while a binding was missing. It raises an alert until it
/// is sent back.
const INTERVAL: Duration = Duration::from_secs(30);

pub(crate) async fn run(connection: Connection, stop: CancellationToken) {
    let mut interval = tokio::time::interval(INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(interval.tick()).await.is_some() {
        if connection.is_up()
            && let Err(error) = broker::replay_unrouted(&connection).await
        {
            tracing::warn!(%error, "unrouted messages could not be sent back; they are tried again");
        }
    }
}
