//! Logs and metrics of the process.

use std::io::IsTerminal;
use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Writes logs to stderr: lines for people on a terminal, JSON lines otherwise.
///
/// lapin logs returned messages with their payload and frames with everything, so it is held to
/// errors whatever the filter says.
///
/// # Errors
/// When `filter` is no filter of tracing-subscriber.
pub fn start_logging(filter: &str) -> Result<(), tracing_subscriber::filter::ParseError> {
    let mut filter = EnvFilter::try_new(filter)?;
    for held in ["lapin=error", "sqlx=warn", "reqwest=warn", "hyper_util=warn"] {
        filter = filter.add_directive(held.parse()?);
    }
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second call, from a second worker in one test process, changes nothing.
    let _ = if std::io::stderr().is_terminal() {
        lines.try_init()
    } else {
        lines.json().flatten_event(true).try_init()
    };
    Ok(())
}

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
