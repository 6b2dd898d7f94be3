//! Metrics of the process.

use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;

/// From a commit on an idle machine to the longest call.
const BUCKETS_S: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Observations pile up until they are sorted into buckets.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// The process's metrics as Prometheus text. The recorder is the process's own: where another
/// library installed one first (in tests, the ingress), this text stays empty.
pub(crate) fn metrics() -> &'static PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &BUCKETS_S)
            .expect("there are buckets")
            .build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::debug!("another recorder of metrics is installed already");
        }
        let version = env!("CARGO_PKG_VERSION");
        metrics::gauge!("wxpay_build_info", "service" => "worker", "version" => version).set(1.0);
        handle
    })
}

/// Sorts what piled up, until `stop`.
pub(crate) async fn upkeep(stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(UPKEEP_EVERY)).await.is_some() {
        metrics().run_upkeep();
    }
}
