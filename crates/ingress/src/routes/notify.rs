//! WeChat's notifications: stored on a queue first, understood later.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Path, Request, State, rejection::PathRejection},
    http::{
        HeaderValue, StatusCode,
        header::{CONTENT_TYPE, RETRY_AFTER},
    },
    response::{IntoResponse, Response},
};
use broker::{Exchange, PublishError, topology};
use service::metrics::names;
use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};
use wechatpay_v2::{MchId, notification_answer};

use super::notification_shape;
use crate::{
    App,
    body::{self, BodyError},
    observe::Subject,
    outbound::Letter,
    source::Source,
    traceparent,
};

const RECEIVED_AT: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

type MchIdPath = Result<Path<String>, PathRejection>;

/// The two kinds of notifications, on their way to the queue.
#[derive(Clone, Copy)]
struct About {
    routing_key: &'static str,
    kind: &'static str,
}

const PAYMENT: About = About { routing_key: topology::PAYMENT, kind: "notification.payment" };
const REFUND: About = About { routing_key: topology::REFUND, kind: "notification.refund" };

pub(super) async fn payment(
    State(app): State<Arc<App>>,
    Extension(source): Extension<Source>,
    mch_id: MchIdPath,
    request: Request,
) -> Response {
    receive(&app, PAYMENT, source, mch_id, request).await
}

pub(super) async fn refund(
    State(app): State<Arc<App>>,
    Extension(source): Extension<Source>,
    mch_id: MchIdPath,
    request: Request,
) -> Response {
    receive(&app, REFUND, source, mch_id, request).await
}

/// Answers `SUCCESS` after the broker's confirm and `FAIL` in every other case, so that WeChat
/// repeats.
async fn receive(
    app: &App,
    about: About,
    source: Source,
    mch_id: MchIdPath,
    request: Request,
) -> Response {
    let mch_id = mch_id.ok().and_then(|Path(text)| MchId::parse(text).ok());
    let Some(mch_id) = mch_id.filter(|mch_id| app.merchants.serve(mch_id)) else {
        body::discard(request, app.limits.public_body_within).await;
        return NotTaken::UnknownMerchant.into_response();
    };
    let mut response = match take(app, about, source, &mch_id, request).await {
        Ok(()) => {
            count("accepted");
            xml(StatusCode::OK, notification_answer::SUCCESS)
        }
        Err(reason) => reason.into_response(),
    };
    response.extensions_mut().insert(Subject::Merchant(mch_id));
    response
}

async fn take(
    app: &App,
    about: About,
    Source(source): Source,
    mch_id: &MchId,
    request: Request,
) -> Result<(), NotTaken> {
    let traceparent = traceparent::of(request.headers());
    let body = body::read(request, app.limits.public_body_within).await.map_err(NotTaken::Body)?;
    notification_shape::check(&body).map_err(NotTaken::Shape)?;
    let received_at = OffsetDateTime::now_utc().format(RECEIVED_AT).unwrap_or_default();
    let headers = [
        ("mch_id", mch_id.to_string()),
        ("received_at", received_at),
        ("remote_addr", source.to_string()),
    ];
    let letter = Letter {
        exchange: Exchange::Notify,
        routing_key: about.routing_key,
        kind: about.kind,
        content_type: "text/xml",
        body,
        traceparent,
        headers: headers.map(|(name, value)| (name.to_owned(), value)).into(),
    };
    let published = app.outbound.publish(letter, app.limits.notification_within).await;
    published.map_err(NotTaken::Publish)
}

/// Why a notification is not with the broker, as far as we know.
enum NotTaken {
    UnknownMerchant,
    Body(BodyError),
    Shape(&'static str),
    Publish(PublishError),
}

impl NotTaken {
    /// Status, text for WeChat, label for the metrics.
    fn tell(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::UnknownMerchant => {
                (StatusCode::NOT_FOUND, "unknown merchant", "unknown_merchant")
            }
            Self::Body(BodyError::TooLarge) => {
                (StatusCode::PAYLOAD_TOO_LARGE, "too large", "too_large")
            }
            Self::Body(BodyError::TooSlow) => (StatusCode::REQUEST_TIMEOUT, "too slow", "too_slow"),
            Self::Body(BodyError::Encoded) => (StatusCode::BAD_REQUEST, "compressed", "malformed"),
            Self::Body(BodyError::Broken) => (StatusCode::BAD_REQUEST, "incomplete", "incomplete"),
            Self::Shape(reason) => (StatusCode::BAD_REQUEST, reason, "malformed"),
            Self::Publish(PublishError::NotSent(_)) => (UNAVAILABLE, "not accepted", "not_sent"),
            Self::Publish(PublishError::Refused) => (UNAVAILABLE, "not accepted", "refused"),
            Self::Publish(PublishError::Unknown) => (UNAVAILABLE, "not confirmed", "unknown"),
        }
    }
}

const UNAVAILABLE: StatusCode = StatusCode::SERVICE_UNAVAILABLE;

impl IntoResponse for NotTaken {
    fn into_response(self) -> Response {
        let (status, reason, label) = self.tell();
        count(label);
        fail(status, reason)
    }
}

fn count(result: &'static str) {
    metrics::counter!(names::NOTIFICATIONS_RECEIVED, "result" => result).increment(1);
}

pub(super) async fn no_route(State(app): State<Arc<App>>, request: Request) -> Response {
    body::discard(request, app.limits.public_body_within).await;
    fail(StatusCode::NOT_FOUND, "not found")
}

pub(super) async fn wrong_method() -> Response {
    fail(StatusCode::METHOD_NOT_ALLOWED, "method not allowed")
}

pub(super) fn busy() -> Response {
    fail(UNAVAILABLE, "busy")
}

pub(crate) fn not_allowed() -> Response {
    fail(StatusCode::FORBIDDEN, "not allowed")
}

/// WeChat repeats by a schedule of its own; the header is for everybody else.
pub(crate) fn too_many() -> Response {
    let mut response = fail(StatusCode::TOO_MANY_REQUESTS, "too many requests");
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

pub(super) fn panicked() -> Response {
    fail(StatusCode::INTERNAL_SERVER_ERROR, "internal error")
}

fn fail(status: StatusCode, reason: &'static str) -> Response {
    xml(status, notification_answer::fail(reason))
}

fn xml(status: StatusCode, body: impl IntoResponse) -> Response {
    (status, [(CONTENT_TYPE, "text/xml")], body).into_response()
}
