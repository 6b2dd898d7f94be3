//! Which sources may use the public listener.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use service::metrics::names;

use crate::Networks;
use crate::http::source::{Peer, Source};
use crate::notify_response;

pub(crate) struct IpFilter {
    trusted_proxies: Networks,
    allowed: Option<Networks>,
}

impl IpFilter {
    pub(crate) fn new(trusted_proxies: Networks, allowed: Option<Networks>) -> Self {
        Self { trusted_proxies, allowed }
    }
}

/// Answers 403, or adds a [`Source`] for what follows. Does not wait for the body: a source that is
/// refused here costs as little as possible.
pub(crate) async fn filter_source(
    State(filter): State<Arc<IpFilter>>,
    Extension(peer): Extension<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    let source = Source::of(peer, request.headers(), &filter.trusted_proxies);
    if filter.allowed.as_ref().is_some_and(|allowed| !allowed.contains(source.0)) {
        metrics::counter!(names::SHED, "reason" => "public_not_allowed").increment(1);
        return notify_response::fail(StatusCode::FORBIDDEN, "not allowed");
    }
    request.extensions_mut().insert(source);
    next.run(request).await
}
