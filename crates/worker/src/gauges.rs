//! Measures the gauges of the tables and queues.

use std::time::Duration;

use broker::Connection;
use orders::ExceptionKind;
use service::metrics::names;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::store::Store;

const INTERVAL: Duration = Duration::from_secs(5);

pub(crate) async fn run(store: Store, connection: Connection, stop: CancellationToken) {
    let mut interval = tokio::time::interval(INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(interval.tick()).await.is_some() {
        measure_tables(&store).await;
        measure_queues(&connection).await;
    }
}

async fn measure_tables(store: &Store) {
    let Ok(gauges) = store.gauges().await else { return };
    for kind in ExceptionKind::ALL.map(ExceptionKind::as_str) {
        let open = gauges.exceptions.iter().find(|(name, _)| name == kind);
        let open = open.map_or(0, |(_, count)| *count);
        metrics::gauge!(names::EXCEPTIONS_OPEN, "kind" => kind).set(open as f64);
    }
    for (state, seconds) in gauges.oldest_open_seconds {
        metrics::gauge!(names::OLDEST_UNSETTLED_SECONDS, "state" => state).set(seconds);
    }
}

async fn measure_queues(connection: &Connection) {
    let Ok(depths) = broker::queue_depths(connection).await else { return };
    for depth in depths {
        let messages = f64::from(depth.messages);
        metrics::gauge!(names::QUEUE_MESSAGES, "queue" => depth.queue).set(messages);
    }
}
