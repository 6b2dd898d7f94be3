//! Who may use the public listener, and how often.

use std::{num::NonZeroU32, sync::Arc, time::Instant};

use axum::{
    Extension,
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use service::metrics::names;

use crate::{
    Networks,
    rate::SourceRate,
    routes::notify,
    source::{Peer, Source},
};

pub(crate) struct Gate {
    trusted_proxies: Networks,
    allowed: Option<Networks>,
    rate: SourceRate,
}

impl Gate {
    pub(crate) fn new(
        trusted_proxies: Networks,
        allowed: Option<Networks>,
        per_second: NonZeroU32,
    ) -> Self {
        Self { trusted_proxies, allowed, rate: SourceRate::new(per_second) }
    }
}

/// Middleware: 403, 429, or a [`Source`] for the handlers. A body is not waited for: whoever is
/// turned away here gets as little of us as possible.
pub(crate) async fn pass(
    State(gate): State<Arc<Gate>>,
    Extension(peer): Extension<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    let source = Source::of(peer, request.headers(), &gate.trusted_proxies);
    if gate.allowed.as_ref().is_some_and(|allowed| !allowed.contain(source.0)) {
        count("public_not_allowed");
        return notify::not_allowed();
    }
    if !gate.rate.take(source, Instant::now()) {
        count("public_rate");
        return notify::too_many();
    }
    request.extensions_mut().insert(source);
    next.run(request).await
}

fn count(reason: &'static str) {
    metrics::counter!(names::SHED, "reason" => reason).increment(1);
}
