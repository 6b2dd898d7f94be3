//! What is measured and logged about every request.

use axum::{
    extract::{MatchedPath, Request, State},
    http::StatusCode,
    middleware::Next,
    response::Response,
};
use orders::OrderKey;
use service::metrics::names;
use tokio::time::Instant;
use wechatpay_v2::MchId;

use crate::authentication::Caller;

/// What a request was about, left by its handler in the answer's extensions.
#[derive(Clone, Debug)]
pub(crate) enum Subject {
    Merchant(MchId),
    Order(OrderKey),
}

/// Middleware, the outermost one; its state is the listener's name.
pub(crate) async fn observe(
    State(listener): State<&'static str>,
    request: Request,
    next: Next,
) -> Response {
    // The pattern and never the path: labels must be few.
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or("unmatched", MatchedPath::as_str).to_owned();
    let mut record = Record::start(listener, route);
    let response = next.run(request).await;
    record.status = response.status().as_u16();
    record.log(&response);
    response
}

/// One request. Counted when it is dropped, because that is what happens to the future of a
/// request whose client goes away.
struct Record {
    listener: &'static str,
    route: String,
    status: u16,
    since: Instant,
}

/// nginx's number for "the client went away before the answer".
const CLIENT_GONE: u16 = 499;

impl Record {
    fn start(listener: &'static str, route: String) -> Self {
        metrics::gauge!(names::INFLIGHT, "kind" => inflight_kind(listener)).increment(1);
        Self { listener, route, status: CLIENT_GONE, since: Instant::now() }
    }

    fn log(&self, response: &Response) {
        let Self { listener, route, status, since } = self;
        let duration_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (mch_id, out_trade_no) = match response.extensions().get() {
            Some(Subject::Merchant(mch_id)) => (Some(mch_id.as_str()), None),
            Some(Subject::Order(key)) => {
                (Some(key.mch_id.as_str()), Some(key.out_trade_no.as_str()))
            }
            None => (None, None),
        };
        let client = response.extensions().get().and_then(Caller::name);
        // A 503 is an answer, counted as shed, and the broker's link has said why: a flood during an
        // outage shall not fill the log.
        let is_unavailable = response.status() == StatusCode::SERVICE_UNAVAILABLE;
        if response.status().is_server_error() && !is_unavailable {
            tracing::warn!(
                listener,
                route,
                status,
                duration_ms,
                mch_id,
                out_trade_no,
                client,
                "a request could not be served"
            );
        } else {
            tracing::debug!(
                listener,
                route,
                status,
                duration_ms,
                mch_id,
                out_trade_no,
                client,
                "served a request"
            );
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let route = || self.route.clone();
        metrics::gauge!(names::INFLIGHT, "kind" => inflight_kind(self.listener)).decrement(1);
        metrics::counter!(
            names::HTTP_REQUESTS,
            "listener" => self.listener, "route" => route(), "status" => self.status.to_string()
        )
        .increment(1);
        metrics::histogram!(
            names::HTTP_REQUEST_SECONDS,
            "listener" => self.listener, "route" => route()
        )
        .record(self.since.elapsed());
    }
}

fn inflight_kind(listener: &str) -> &'static str {
    if listener == "public" { "http_public" } else { "http_private" }
}
