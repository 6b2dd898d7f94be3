//! The span, the metrics and the log line of every request.

use axum::extract::{MatchedPath, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use service::metrics::names;
use tokio::time::Instant;
use tracing::field::Empty;
use tracing::{Instrument, Span};

/// The status that nginx logs when the client closes the connection before the answer.
const CLIENT_CLOSED: u16 = 499;

/// The outermost middleware; its state is the listener's name. Handlers record the keys of the span
/// as soon as they know them.
pub(crate) async fn measure_request(
    State(listener): State<&'static str>,
    request: Request,
    next: Next,
) -> Response {
    // The path's pattern and never the path itself: labels must be few.
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or("unmatched", MatchedPath::as_str).to_owned();
    let span = request_span(listener, &route, &request);
    async {
        let mut record = RequestRecord::start(listener, route);
        let response = next.run(request).await;
        record.status = response.status().as_u16();
        record.log();
        response
    }
    .instrument(span)
    .await
}

/// Of the level ERROR, so that a filter of `warn` keeps the keys of the warnings.
fn request_span(listener: &'static str, route: &str, request: &Request) -> Span {
    tracing::error_span!(
        "request",
        listener,
        method = request.method().as_str(),
        route,
        traceparent = Empty,
        client = Empty,
        mch_id = Empty,
        out_trade_no = Empty,
    )
}

/// One request. Counted when it is dropped, because the future of a request is dropped when its
/// client closes the connection.
struct RequestRecord {
    listener: &'static str,
    route: String,
    status: u16,
    since: Instant,
}

impl RequestRecord {
    fn start(listener: &'static str, route: String) -> Self {
        metrics::gauge!(names::INFLIGHT, "kind" => inflight_kind(listener)).increment(1);
        Self { listener, route, status: CLIENT_CLOSED, since: Instant::now() }
    }

    fn log(&self) {
        let status = self.status;
        let duration_ms = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        // A 503 is counted, and the connection to the broker has logged why: a flood during an
        // outage must not fill the log.
        if status >= 500 && status != StatusCode::SERVICE_UNAVAILABLE.as_u16() {
            tracing::warn!(status, duration_ms, "a request failed");
        } else {
            tracing::debug!(status, duration_ms, "answered a request");
        }
    }
}

impl Drop for RequestRecord {
    fn drop(&mut self) {
        let listener = self.listener;
        metrics::gauge!(names::INFLIGHT, "kind" => inflight_kind(listener)).decrement(1);
        metrics::counter!(
            names::HTTP_REQUESTS,
            "listener" => listener, "route" => self.route.clone(), "status" => self.status.to_string()
        )
        .increment(1);
        metrics::histogram!(
            names::HTTP_REQUEST_SECONDS,
            "listener" => listener, "route" => self.route.clone()
        )
        .record(self.since.elapsed());
    }
}

fn inflight_kind(listener: &str) -> &'static str {
    if listener == "public" { "http_public" } else { "http_private" }
}
