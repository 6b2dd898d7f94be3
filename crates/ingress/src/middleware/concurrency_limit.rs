//! A bound on the requests in flight. A further one is refused at once, instead of making all the
//! others late.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use service::metrics::names;
use tokio::sync::Semaphore;

#[derive(Clone)]
pub(crate) struct ConcurrencyLimit {
    permits: Arc<Semaphore>,
    reason: &'static str,
    refuse: fn() -> Response,
}

impl ConcurrencyLimit {
    /// `reason` is the label under which refused requests are counted.
    pub(crate) fn new(requests_max: usize, reason: &'static str, refuse: fn() -> Response) -> Self {
        Self { permits: Arc::new(Semaphore::new(requests_max)), reason, refuse }
    }
}

pub(crate) async fn limit_concurrency(
    State(limit): State<ConcurrencyLimit>,
    request: Request,
    next: Next,
) -> Response {
    let Ok(_permit) = limit.permits.try_acquire() else {
        metrics::counter!(names::SHED, "reason" => limit.reason).increment(1);
        return (limit.refuse)();
    };
    next.run(request).await
}
