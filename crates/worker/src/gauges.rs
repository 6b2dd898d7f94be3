//! Keeps the gauges of design 9 true, and the evidence bounded.

use std::time::Duration;

use broker::Connection;
use orders::ExceptionKind;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::store::Store;

const MEASURE_EVERY: Duration = Duration::from_secs(5);
const REMOVE_EVERY: Duration = Duration::from_secs(600);

pub(crate) async fn run(store: Store, connection: Connection, stop: CancellationToken) {
    let mut measure = tokio::time::interval(MEASURE_EVERY);
    measure.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut removed_at = Instant::now();
    while stop.run_until_cancelled(measure.tick()).await.is_some() {
        books(&store).await;
        queues(&connection).await;
        if removed_at.elapsed() >= REMOVE_EVERY {
            removed_at = Instant::now();
            if let Err(error) = store.remove_old().await {
                tracing::warn!(%error, "old evidence is not removed");
            }
        }
    }
}

async fn books(store: &Store) {
    let Ok(gauges) = store.gauges().await else { return };
    for kind in ExceptionKind::ALL.map(ExceptionKind::as_str) {
        let open = gauges.exceptions.iter().find(|(name, _)| name == kind);
        let open = open.map_or(0, |(_, count)| *count);
        metrics::gauge!("wxpay_exceptions_open", "kind" => kind).set(open as f64);
    }
    for (state, seconds) in gauges.oldest_open_seconds {
        metrics::gauge!("wxpay_oldest_unsettled_seconds", "state" => state).set(seconds);
    }
}

async fn queues(connection: &Connection) {
    let Ok(depths) = broker::queue_depths(connection).await else { return };
    for depth in depths {
        metrics::gauge!("wxpay_queue_messages", "queue" => depth.queue)
            .set(f64::from(depth.messages));
    }
}
