//! For probes and Prometheus: `/healthz`, `/readyz`, `/metrics`.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use broker::Connection;
use service::SettingError;
use service::metrics::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::store::Store;

/// What readiness depends on.
#[derive(Clone)]
pub(crate) struct Readiness {
    pub(crate) store: Store,
    pub(crate) connections: Vec<Connection>,
    /// Set once the schema is current and the consumers run.
    pub(crate) is_consuming: watch::Receiver<bool>,
    pub(crate) stop: CancellationToken,
}

pub(crate) async fn bind(config: &Config) -> Result<TcpListener, SettingError> {
    let bound = TcpListener::bind(config.ops_addr).await;
    bound.map_err(|error| SettingError::new("WXPAY_OPS_ADDR", error))
}

pub(crate) async fn serve(
    listener: TcpListener,
    readiness: Readiness,
    metrics: PrometheusHandle,
    stop: CancellationToken,
) {
    let app = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(|| async move { metrics.render() }))
        .with_state(readiness);
    let served = axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned()).await;
    if let Err(error) = served {
        tracing::error!(%error, "the ops listener has ended");
    }
}

async fn ready(State(readiness): State<Readiness>) -> (StatusCode, String) {
    let missing = readiness.missing().await;
    if missing.is_empty() {
        return (StatusCode::OK, "ready\n".to_owned());
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", missing.join("; ")))
}

impl Readiness {
    async fn missing(&self) -> Vec<&'static str> {
        // In a task of its own: a probe that disconnects must not cancel a query half-way.
        let store = self.store.clone();
        let has_database = tokio::spawn(async move { store.ping().await }).await.unwrap_or(false);
        let mut missing = Vec::new();
        if !has_database {
            missing.push("no database");
        }
        if !self.connections.iter().all(Connection::is_up) {
            missing.push("no broker");
        }
        if !*self.is_consuming.borrow() {
            missing.push("not consuming: are the migrations applied?");
        }
        if self.stop.is_cancelled() {
            missing.push("stopping");
        }
        missing
    }
}
