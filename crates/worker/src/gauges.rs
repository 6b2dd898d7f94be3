//! Measures the gauges of the tables and queues. Each source has a task of its own, so that none
//! waits for another one that is slow.

use std::collections::BTreeSet;
use std::time::Duration;

use broker::Connection;
use orders::ExceptionKind;
use service::metrics::names;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::store::Store;

const INTERVAL: Duration = Duration::from_secs(5);
const OUTBOX_INTERVAL: Duration = Duration::from_secs(1);

pub(crate) fn start(store: &Store, connection: &Connection, stop: &CancellationToken) {
    tokio::spawn(measure_outbox(store.clone(), stop.clone()));
    tokio::spawn(measure_tables(store.clone(), stop.clone()));
    tokio::spawn(measure_queues(connection.clone(), stop.clone()));
}

fn every(period: Duration) -> Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

async fn measure_outbox(store: Store, stop: CancellationToken) {
    let mut interval = every(OUTBOX_INTERVAL);
    let mut named = BTreeSet::new();
    while stop.run_until_cancelled(interval.tick()).await.is_some() {
        measure_depth(&store).await;
        measure_waiting(&store, &mut named).await;
    }
}

async fn measure_depth(store: &Store) {
    let Ok(depth) = store.outbox_depth().await else { return };
    metrics::gauge!(names::OUTBOX_PENDING).set(depth.pending as f64);
    metrics::gauge!(names::OUTBOX_OLDEST_SECONDS).set(depth.oldest_seconds);
}

/// A merchant that was named stays named, with 0.
async fn measure_waiting(store: &Store, named: &mut BTreeSet<String>) {
    let Ok(waiting) = store.waiting_events().await else { return };
    let set = |mch_id: &String, count: i64| {
        let mch_id = mch_id.clone();
        metrics::gauge!(names::OUTBOX_WAITING, "mch_id" => mch_id).set(count as f64);
    };
    let now: BTreeSet<String> = waiting.iter().map(|(mch_id, _)| mch_id.clone()).collect();
    named.difference(&now).for_each(|mch_id| set(mch_id, 0));
    waiting.iter().for_each(|(mch_id, count)| set(mch_id, *count));
    *named = now;
}

async fn measure_tables(store: Store, stop: CancellationToken) {
    let mut interval = every(INTERVAL);
    while stop.run_until_cancelled(interval.tick()).await.is_some() {
        let Ok(gauges) = store.gauges().await else { continue };
        for kind in ExceptionKind::ALL.map(ExceptionKind::as_str) {
            let open = gauges.exceptions.iter().find(|(name, _)| name == kind);
            let open = open.map_or(0, |(_, count)| *count);
            metrics::gauge!(names::EXCEPTIONS_OPEN, "kind" => kind).set(open as f64);
        }
        for (state, seconds) in gauges.oldest_open_seconds {
            metrics::gauge!(names::OLDEST_UNSETTLED_SECONDS, "state" => state).set(seconds);
        }
    }
}

async fn measure_queues(connection: Connection, stop: CancellationToken) {
    let mut interval = every(INTERVAL);
    while stop.run_until_cancelled(interval.tick()).await.is_some() {
        let Ok(depths) = broker::queue_depths(&connection).await else { continue };
        for depth in depths {
            let messages = f64::from(depth.messages);
            metrics::gauge!(names::QUEUE_MESSAGES, "queue" => depth.queue).set(messages);
        }
    }
}
