//! Answers of the public listener, in the XML that WeChat reads.

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use wechatpay_v2::notification_answer;

pub(crate) fn success() -> Response {
    xml(StatusCode::OK, notification_answer::SUCCESS)
}

/// `FAIL`, after which WeChat repeats the notification.
pub(crate) fn fail(status: StatusCode, reason: &'static str) -> Response {
    xml(status, notification_answer::fail(reason))
}

/// WeChat repeats by a schedule of its own; `Retry-After` is for every other client.
pub(crate) fn too_many_requests() -> Response {
    let mut response = fail(StatusCode::TOO_MANY_REQUESTS, "too many requests");
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

fn xml(status: StatusCode, body: impl IntoResponse) -> Response {
    (status, [(CONTENT_TYPE, "text/xml")], body).into_response()
}
