//! The metrics of this process, as Prometheus reads them.

use std::{sync::OnceLock, time::Duration};

use metrics::{describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::time::sleep;

/// From a confirm on an idle machine to the longest wait for an answer.
const BUCKETS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Observations pile up until they are sorted into buckets.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// The one handle of this process, however many services run in it.
///
/// Where somebody else has installed a recorder before (the worker does, when tests run both in
/// one process), this handle knows nothing of what is counted and renders an empty text.
pub(crate) fn handle() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(install).clone()
}

/// Never returns.
pub(crate) async fn upkeep(handle: &PrometheusHandle) {
    loop {
        sleep(UPKEEP_EVERY).await;
        handle.run_upkeep();
    }
}

fn install() -> PrometheusHandle {
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &BUCKETS)
        .expect("there are buckets")
        .build_recorder();
    let handle = recorder.handle();
    if metrics::set_global_recorder(recorder).is_err() {
        tracing::debug!("another recorder of metrics is installed already");
    }
    describe();
    let version = env!("CARGO_PKG_VERSION");
    metrics::gauge!("wxpay_build_info", "service" => "ingress", "version" => version).set(1.0);
    handle
}

fn describe() {
    describe_gauge!("wxpay_build_info", "What runs here.");
    describe_gauge!("wxpay_inflight", "What is being worked on.");
    describe_gauge!("wxpay_broker_connected", "1 while there is a connection to the broker.");
    describe_counter!("wxpay_http_requests_total", "Requests answered (499: the client had gone).");
    describe_histogram!("http_server_request_duration_seconds", "From the headers to the answer.");
    describe_counter!(
        "wxpay_http_connection_errors_total",
        "Connections that were refused or ended without a whole request."
    );
    describe_gauge!("wxpay_http_connections_open", "Connections that are open.");
    describe_counter!(
        "wxpay_notifications_received_total",
        "Notifications, by what became of them."
    );
    describe_counter!("wxpay_shed_total", "Requests that were turned away or not confirmed.");
    describe_histogram!(
        "wxpay_publish_confirm_seconds",
        "From publishing to the broker's confirm."
    );
}
