//! The metrics of this process, as Prometheus reads them.

use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use tokio::time::sleep;

pub mod names;

pub use metrics_exporter_prometheus::PrometheusHandle;

/// From a commit or a confirm on an idle machine to the longest call or wait.
const BUCKETS_S: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Observations accumulate until they are sorted into buckets.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Installs the recorder of this process, once, and reports that this service runs here. Returns
/// the one handle of the process, however many services run in it.
pub fn install(service: &'static str, version: &'static str) -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    let handle = HANDLE.get_or_init(|| {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &BUCKETS_S)
            .expect("there are buckets")
            .build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::debug!("another recorder of metrics is installed already");
        }
        names::describe();
        handle
    });
    metrics::gauge!(names::BUILD_INFO, "service" => service, "version" => version).set(1.0);
    handle.clone()
}

/// Sorts what has accumulated into buckets, again and again. Never returns.
pub async fn upkeep(handle: &PrometheusHandle) {
    loop {
        sleep(UPKEEP_INTERVAL).await;
        handle.run_upkeep();
    }
}
