//! WeChat's notifications: put on a queue first, verified later by a worker.

use std::sync::Arc;

use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use broker::{Message, PublishError, topology};
use service::metrics::names;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use tracing::Span;
use wechatpay_v2::MchId;

use super::notification_shape;
use super::traceparent::Traceparent;
use crate::app::App;
use crate::http::body::{self, BodyError};
use crate::http::source::Source;
use crate::notify_response;

const RECEIVED_AT: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
const UNAVAILABLE: StatusCode = StatusCode::SERVICE_UNAVAILABLE;

type MchIdPath = Result<Path<String>, PathRejection>;

#[derive(Clone, Copy)]
struct NotificationKind {
    routing_key: &'static str,
    /// The AMQP property `type`.
    name: &'static str,
}

const PAYMENT_NOTIFICATION: NotificationKind =
    NotificationKind { routing_key: topology::PAYMENT, name: "notification.payment" };
const REFUND_NOTIFICATION: NotificationKind =
    NotificationKind { routing_key: topology::REFUND, name: "notification.refund" };

pub(super) async fn payment(
    State(app): State<Arc<App>>,
    Extension(source): Extension<Source>,
    mch_id: MchIdPath,
    traceparent: Traceparent,
    request: Request,
) -> Response {
    answer(receive(&app, PAYMENT_NOTIFICATION, source, mch_id, traceparent, request).await)
}

pub(super) async fn refund(
    State(app): State<Arc<App>>,
    Extension(source): Extension<Source>,
    mch_id: MchIdPath,
    traceparent: Traceparent,
    request: Request,
) -> Response {
    answer(receive(&app, REFUND_NOTIFICATION, source, mch_id, traceparent, request).await)
}

pub(super) async fn no_route(State(app): State<Arc<App>>, request: Request) -> Response {
    body::discard(request, app.limits.public_body_timeout).await;
    notify_response::fail(StatusCode::NOT_FOUND, "not found")
}

pub(super) async fn wrong_method() -> Response {
    notify_response::fail(StatusCode::METHOD_NOT_ALLOWED, "method not allowed")
}

/// Publishes a notification and waits for the broker's confirm.
async fn receive(
    app: &App,
    kind: NotificationKind,
    Source(source): Source,
    mch_id: MchIdPath,
    traceparent: Traceparent,
    request: Request,
) -> Result<(), NotifyError> {
    let mch_id = mch_id.ok().and_then(|Path(text)| MchId::parse(text).ok());
    let Some(mch_id) = mch_id.filter(|mch_id| app.merchants.contains(mch_id)) else {
        body::discard(request, app.limits.public_body_timeout).await;
        return Err(NotifyError::UnknownMerchant);
    };
    Span::current().record("mch_id", mch_id.as_str());
    let body = body::read(request, app.limits.public_body_timeout).await;
    let body = body.map_err(NotifyError::Body)?;
    notification_shape::check(&body).map_err(NotifyError::Shape)?;
    let received_at = OffsetDateTime::now_utc().format(RECEIVED_AT).unwrap_or_default();
    let message = Message::notification(kind.routing_key, kind.name, body)
        .with_header("mch_id", mch_id.as_str())
        .with_header("received_at", received_at)
        .with_header("remote_addr", source.to_string());
    let message = traceparent.add_to(message);
    let published = app.outbound.publish(message, app.limits.notification_timeout).await;
    published.map_err(NotifyError::Publish)
}

/// `SUCCESS` after the broker's confirm, and `FAIL` in every other case, so that WeChat repeats.
fn answer(received: Result<(), NotifyError>) -> Response {
    let (label, response) = match received {
        Ok(()) => ("accepted", notify_response::success()),
        Err(error) => {
            let FailedNotification { status, reason, label } = error.describe();
            (label, notify_response::fail(status, reason))
        }
    };
    metrics::counter!(names::NOTIFICATIONS_RECEIVED, "result" => label).increment(1);
    response
}

/// Why a notification was not confirmed.
enum NotifyError {
    UnknownMerchant,
    Body(BodyError),
    Shape(&'static str),
    Publish(PublishError),
}

struct FailedNotification {
    status: StatusCode,
    /// What WeChat reads in the FAIL answer.
    reason: &'static str,
    /// The label of the metric that counts it.
    label: &'static str,
}

impl NotifyError {
    fn describe(&self) -> FailedNotification {
        let (status, reason, label) = match self {
            Self::UnknownMerchant => {
                (StatusCode::NOT_FOUND, "unknown merchant", "unknown_merchant")
            }
            Self::Body(BodyError::TooLarge) => {
                (StatusCode::PAYLOAD_TOO_LARGE, "too large", "too_large")
            }
            Self::Body(BodyError::TooSlow) => (StatusCode::REQUEST_TIMEOUT, "too slow", "too_slow"),
            Self::Body(BodyError::Encoded) => (StatusCode::BAD_REQUEST, "compressed", "malformed"),
            Self::Body(BodyError::Broken) => (StatusCode::BAD_REQUEST, "incomplete", "incomplete"),
            Self::Shape(reason) => (StatusCode::BAD_REQUEST, *reason, "malformed"),
            Self::Publish(PublishError::NotSent(_)) => (UNAVAILABLE, "not accepted", "not_sent"),
            Self::Publish(PublishError::Refused) => (UNAVAILABLE, "not accepted", "refused"),
            Self::Publish(PublishError::Unknown) => (UNAVAILABLE, "not confirmed", "unknown"),
        };
        FailedNotification { status, reason, label }
    }
}
