//! For probes and Prometheus: `/healthz`, `/readyz`, `/metrics`.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use broker::Connection;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::store::Store;
use crate::telemetry;

/// What readiness depends on.
#[derive(Clone)]
pub(crate) struct Probe {
    pub(crate) store: Store,
    pub(crate) connections: Vec<Connection>,
    /// Set once the schema was found current and the consumers run.
    pub(crate) consuming: CancellationToken,
    pub(crate) stop: CancellationToken,
}

pub(crate) async fn serve(listener: TcpListener, probe: Probe, stop: CancellationToken) {
    let app = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(|| async { telemetry::metrics().render() }))
        .with_state(probe);
    let served = axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned()).await;
    if let Err(error) = served {
        tracing::error!(%error, "the ops listener ended");
    }
}

async fn ready(State(probe): State<Probe>) -> (StatusCode, String) {
    // In a task of its own: a probe that hangs up must not cancel a query half-way.
    let store = probe.store.clone();
    let database = tokio::spawn(async move { store.ping().await }).await.unwrap_or(false);
    let broker = probe.connections.iter().all(Connection::is_up);
    let missing: Vec<&str> = [
        (!database, "no database"),
        (!broker, "no broker"),
        (!probe.consuming.is_cancelled(), "not consuming: are the migrations applied?"),
        (probe.stop.is_cancelled(), "stopping"),
    ]
    .into_iter()
    .filter_map(|(holds, what)| holds.then_some(what))
    .collect();
    if missing.is_empty() {
        return (StatusCode::OK, "ready\n".to_owned());
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", missing.join("; ")))
}
