//! What is served where (design 6).

use std::sync::Arc;

use axum::{
    Router,
    middleware::from_fn_with_state,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use orders::Problem;
use service::metrics::PrometheusHandle;
use tower_http::catch_panic::CatchPanicLayer;

mod notification_shape;
pub(crate) mod notify;
mod order_in_path;
mod orders_api;
mod probes;

pub use probes::OPENAPI;

use crate::{
    App,
    admission::{Admission, admit},
    authentication::authenticate,
    gate::{self, Gate},
    observe::observe,
    problem::Declined,
};

/// For WeChat. Says nothing about what else there is.
pub(crate) fn public(app: Arc<App>, gate: Gate) -> Router {
    let admission = Admission::new(app.limits.requests, "public_busy", notify::busy);
    let router = Router::new()
        .route("/notify/{mch_id}/payment", post(notify::payment))
        .route("/notify/{mch_id}/refund", post(notify::refund))
        .method_not_allowed_fallback(notify::wrong_method)
        .fallback(notify::no_route)
        .layer(from_fn_with_state(admission, admit))
        .layer(from_fn_with_state(Arc::new(gate), gate::pass))
        .with_state(app);
    watched(router, "public", notify::panicked)
}

/// For shops, probes and metrics.
pub(crate) fn private(app: Arc<App>, metrics: PrometheusHandle) -> Router {
    let too_many = || Declined::from(Problem::too_many_requests()).into_response();
    let admission = Admission::new(app.limits.requests, "private_busy", too_many);
    let authentication = from_fn_with_state(Arc::clone(&app), authenticate);
    let orders = Router::new()
        .route("/v1/orders", post(orders_api::create))
        .route("/v1/orders/{mch_id}/{out_trade_no}", get(orders_api::view))
        .route("/v1/orders/{mch_id}/{out_trade_no}/close", post(orders_api::close))
        .layer(authentication.clone())
        .layer(from_fn_with_state(admission, admit));
    let inspection = Router::new()
        .route("/metrics", get(move || probes::metrics(metrics.clone())))
        .route("/openapi.json", get(probes::openapi))
        .layer(authentication);
    let router = Router::new()
        .merge(orders)
        .merge(inspection)
        // Subject to none of that: a probe must learn the truth from a busy service, too.
        .route("/healthz", get(probes::health))
        .route("/readyz", get(probes::ready))
        .method_not_allowed_fallback(async || Declined::wrong_method())
        .fallback(async || Declined::no_route())
        .with_state(app);
    let panicked = || Declined::from(Problem::internal()).into_response();
    watched(router, "private", panicked)
}

/// Whatever happens in a handler, there is an answer, and it is counted.
fn watched(router: Router, listener: &'static str, panicked: fn() -> Response) -> Router {
    router
        .layer(CatchPanicLayer::custom(move |_| panicked()))
        .layer(from_fn_with_state(listener, observe))
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, extract::Request};
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_answer() {
        async fn stumble() -> &'static str {
            panic!("on purpose")
        }
        let router = Router::new().route("/", get(stumble));
        let router = watched(router, "public", notify::panicked);
        let answer = router.oneshot(Request::new(Body::empty())).await.unwrap();
        assert_eq!(answer.status(), 500);
        assert_eq!(answer.headers()["content-type"], "text/xml");
    }
}
