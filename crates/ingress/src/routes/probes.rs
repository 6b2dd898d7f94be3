//! How the service is.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use broker::ConnectionState;
use service::metrics::PrometheusHandle;

use crate::App;

/// The description of the private API.
pub const OPENAPI: &str = include_str!("../openapi.json");

/// `GET /healthz`: this process lives. Whether it is of use is the other probe's question: a
/// broker that is away is not mended by a restart of the ingress.
pub(super) async fn health() -> &'static str {
    "live\n"
}

/// `GET /readyz`: what comes in can be passed on.
pub(super) async fn ready(State(app): State<Arc<App>>) -> (StatusCode, String) {
    let broker = match app.outbound.state() {
        ConnectionState::Up => None,
        ConnectionState::Blocked => Some("the broker is short of memory or disk and takes nothing"),
        ConnectionState::Down => Some("no usable connection to the broker"),
    };
    let stopping = app.stop.is_cancelled().then_some("stopping");
    let reasons: Vec<_> = [broker, stopping].into_iter().flatten().collect();
    match reasons.as_slice() {
        [] => (StatusCode::OK, "ready\n".to_owned()),
        reasons => (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", reasons.join("\n"))),
    }
}

/// `GET /metrics`
pub(super) async fn metrics(handle: PrometheusHandle) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], handle.render()).into_response()
}

/// `GET /openapi.json`
pub(super) async fn openapi() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], OPENAPI)
}
