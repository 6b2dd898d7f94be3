//! A bound on the requests in flight: one more is turned away at once instead of making all the
//! others late.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use tokio::sync::Semaphore;

#[derive(Clone)]
pub(crate) struct Admission {
    permits: Arc<Semaphore>,
    reason: &'static str,
    decline: fn() -> Response,
}

impl Admission {
    /// `reason` is the label under which the requests turned away are counted.
    pub(crate) fn new(
        requests_max: usize,
        reason: &'static str,
        decline: fn() -> Response,
    ) -> Self {
        Self { permits: Arc::new(Semaphore::new(requests_max)), reason, decline }
    }
}

/// Middleware.
pub(crate) async fn admit(
    State(admission): State<Admission>,
    request: Request,
    next: Next,
) -> Response {
    let Ok(_permit) = admission.permits.try_acquire() else {
        metrics::counter!(service::metrics::names::SHED, "reason" => admission.reason).increment(1);
        return (admission.decline)();
    };
    next.run(request).await
}
