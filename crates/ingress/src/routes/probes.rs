//! Health, readiness and metrics.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use broker::ConnectionState;
use service::metrics::PrometheusHandle;

use crate::app::App;

/// `GET /healthz`: the process is running. Says nothing about the broker, since a restart of the
/// ingress does not bring the broker back.
pub(super) async fn health() -> &'static str {
    "live\n"
}

/// `GET /readyz`: requests can be published.
pub(super) async fn ready(State(app): State<Arc<App>>) -> (StatusCode, String) {
    let broker = match app.outbound.state() {
        ConnectionState::Up => None,
        ConnectionState::Blocked => {
            Some("the broker is short of memory or disk and accepts nothing")
        }
        ConnectionState::Down => Some("no usable connection to the broker"),
    };
    let stopping = app.stop.is_cancelled().then_some("stopping");
    let reasons: Vec<_> = [broker, stopping].into_iter().flatten().collect();
    match reasons.as_slice() {
        [] => (StatusCode::OK, "ready\n".to_owned()),
        reasons => (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", reasons.join("\n"))),
    }
}

pub(super) async fn metrics(handle: PrometheusHandle) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], handle.render()).into_response()
}
