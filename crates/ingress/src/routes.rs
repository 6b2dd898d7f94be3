//! What is served where.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use orders::Problem;
use service::metrics::PrometheusHandle;
use tower_http::catch_panic::CatchPanicLayer;

mod notification_shape;
mod notify;
mod openapi;
mod order_path;
mod orders_api;
mod prefer;
mod probes;
mod traceparent;

pub use openapi::OPENAPI;

use crate::api_error::ApiError;
use crate::app::App;
use crate::middleware::authentication::authenticate;
use crate::middleware::concurrency_limit::{ConcurrencyLimit, limit_concurrency};
use crate::middleware::ip_filter::{IpFilter, filter_source};
use crate::middleware::rate_limit::{RateLimit, limit_rate};
use crate::middleware::request_metrics::measure_request;
use crate::notify_response;

/// For WeChat. Its answers do not reveal what else is served.
pub(crate) fn public(app: Arc<App>, ip_filter: IpFilter, rate_limit: RateLimit) -> Router {
    let busy = || notify_response::fail(StatusCode::SERVICE_UNAVAILABLE, "busy");
    let concurrency_limit = ConcurrencyLimit::new(app.limits.requests, "public_busy", busy);
    let router = Router::new()
        .route("/notify/{mch_id}/payment", post(notify::payment))
        .route("/notify/{mch_id}/refund", post(notify::refund))
        .method_not_allowed_fallback(notify::wrong_method)
        .fallback(notify::no_route)
        .layer(from_fn_with_state(concurrency_limit, limit_concurrency))
        .layer(from_fn_with_state(Arc::new(rate_limit), limit_rate))
        .layer(from_fn_with_state(Arc::new(ip_filter), filter_source))
        .with_state(app);
    with_outer_layers(router, "public", notify_panic)
}

/// For shops, probes and metrics.
pub(crate) fn private(app: Arc<App>, metrics: PrometheusHandle) -> Router {
    let busy = || ApiError::from(Problem::too_many_requests()).into_response();
    let concurrency_limit = ConcurrencyLimit::new(app.limits.requests, "private_busy", busy);
    let authentication = from_fn_with_state(Arc::clone(&app), authenticate);
    let orders = Router::new()
        .route("/v1/orders", post(orders_api::create))
        .route("/v1/orders/{mch_id}/{out_trade_no}", get(orders_api::view))
        .route("/v1/orders/{mch_id}/{out_trade_no}/close", post(orders_api::close))
        .layer(authentication.clone())
        .layer(from_fn_with_state(concurrency_limit, limit_concurrency));
    let inspection = Router::new()
        .route("/metrics", get(move || probes::metrics(metrics.clone())))
        .route("/openapi.json", get(openapi::openapi))
        .layer(authentication);
    let router = Router::new()
        .merge(orders)
        .merge(inspection)
        // Without authentication and limits: a busy service must still answer its probes.
        .route("/healthz", get(probes::health))
        .route("/readyz", get(probes::ready))
        .method_not_allowed_fallback(async || ApiError::wrong_method())
        .fallback(async || ApiError::no_route())
        .with_state(app);
    with_outer_layers(router, "private", api_panic)
}

/// A panic in a handler becomes an answer, and every answer is measured.
fn with_outer_layers(
    router: Router,
    listener: &'static str,
    panic_response: fn() -> Response,
) -> Router {
    router
        .layer(CatchPanicLayer::custom(move |_| panic_response()))
        .layer(from_fn_with_state(listener, measure_request))
}

fn notify_panic() -> Response {
    notify_response::fail(StatusCode::INTERNAL_SERVER_ERROR, "internal error")
}

fn api_panic() -> Response {
    ApiError::from(Problem::internal()).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::extract::Request;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn panic_of_a_handler_is_answered() {
        async fn panic() -> &'static str {
            panic!("on purpose")
        }
        let router = Router::new().route("/", get(panic));
        let router = with_outer_layers(router, "public", notify_panic);
        let answer = router.oneshot(Request::new(Body::empty())).await.unwrap();
        assert_eq!(answer.status(), 500);
        assert_eq!(answer.headers()["content-type"], "text/xml");
    }
}
