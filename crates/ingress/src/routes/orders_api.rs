//! The shops' orders: create, view, close.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use broker::{Message, PublishError, topology};
use bytes::Bytes;
use orders::{FieldProblem, OrderKey, OrderRequest, Problem};
use tokio::time::Instant;

use super::order_path::{OrderPath, record_order};
use super::prefer;
use super::traceparent::Traceparent;
use crate::api_error::ApiError;
use crate::app::App;
use crate::http::body;
use crate::middleware::authentication::Caller;
use crate::worker_reply::WorkerReply;

const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

pub(super) async fn create(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    traceparent: Traceparent,
    request: Request,
) -> Result<Response, ApiError> {
    let options = CommandOptions::from_headers(request.headers());
    let is_json = is_json(request.headers());
    let body = body::read(request, app.limits.private_body_timeout).await?;
    if !is_json {
        return Err(Problem::malformed("send it with the content-type application/json").into());
    }
    let order = OrderRequest::parse(&body).map_err(|error| error.into_problem())?;
    let key = order.key();
    record_order(&key);
    caller.check_may_act_for(&key.mch_id)?;
    if !app.merchants.contains(&key.mch_id) {
        let field = FieldProblem::new("mch_id", "one of the merchants served here");
        return Err(Problem::invalid(vec![field]).into());
    }
    // The shop's own bytes: the worker parses them by the same rules once more.
    let message = Message::command(topology::ORDER_CREATE, body);
    send_command(&app, &key, traceparent.add_to(message), options?).await
}

pub(super) async fn close(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    OrderPath(key): OrderPath,
    traceparent: Traceparent,
    request: Request,
) -> Result<Response, ApiError> {
    let options = CommandOptions::from_headers(request.headers());
    body::discard(request, app.limits.private_body_timeout).await;
    check_access(&app, &caller, &key)?;
    let message = Message::command(topology::ORDER_CLOSE, key_json(&key)?);
    send_command(&app, &key, traceparent.add_to(message), options?).await
}

pub(super) async fn view(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    OrderPath(key): OrderPath,
    traceparent: Traceparent,
) -> Result<Response, ApiError> {
    check_access(&app, &caller, &key)?;
    let message = Message::command(topology::ORDER_QUERY, key_json(&key)?);
    let within = app.limits.query_timeout;
    let reply_by = Instant::now() + within;
    match app.outbound.request(traceparent.add_to(message), within, reply_by).await {
        Ok(Some(reply)) => Ok(reply_response(&key, reply)),
        // A query that may be lost and one without a reply are the same to the shop.
        Ok(None) | Err(PublishError::Unknown) => Err(Problem::no_answer().into()),
        Err(error) => Err(error.into()),
    }
}

/// Whether the shop waits for the worker's reply, and since when.
struct CommandOptions {
    wait: Option<Duration>,
    since: Instant,
}

impl CommandOptions {
    fn from_headers(headers: &HeaderMap) -> Result<Self, ApiError> {
        let wait = prefer::wait(headers).map_err(ApiError::invalid_header)?;
        Ok(Self { wait, since: Instant::now() })
    }
}

/// Publishes a command and answers: accepted, or the worker's reply if the shop waits for it.
async fn send_command(
    app: &App,
    key: &OrderKey,
    command: Message,
    options: CommandOptions,
) -> Result<Response, ApiError> {
    let within = app.limits.command_timeout;
    let Some(wait) = options.wait else {
        app.outbound.publish(command, within).await?;
        return Ok(accepted_response(key));
    };
    let reply = app.outbound.request(command, within, options.since + wait).await?;
    let mut response = match reply {
        None => accepted_response(key),
        Some(reply) => reply_response(key, reply),
    };
    if let Ok(applied) = HeaderValue::try_from(format!("wait={}", wait.as_secs())) {
        response.headers_mut().insert(PREFERENCE_APPLIED, applied);
    }
    Ok(response)
}

fn key_json(key: &OrderKey) -> Result<Bytes, ApiError> {
    serde_json::to_vec(key).map(Bytes::from).map_err(|_| Problem::internal().into())
}

/// A merchant that is not served here has no orders here.
fn check_access(app: &App, caller: &Caller, key: &OrderKey) -> Result<(), ApiError> {
    caller.check_may_act_for(&key.mch_id)?;
    if app.merchants.contains(&key.mch_id) { Ok(()) } else { Err(Problem::not_found().into()) }
}

/// The command is safe on a queue.
fn accepted_response(key: &OrderKey) -> Response {
    let body = serde_json::json!({
        "mch_id": key.mch_id,
        "out_trade_no": key.out_trade_no,
        "status": "accepted",
    });
    (StatusCode::ACCEPTED, location(key), Json(body)).into_response()
}

fn reply_response(key: &OrderKey, reply: WorkerReply) -> Response {
    let WorkerReply { status, body, is_problem } = reply;
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let media_type = if is_problem { "application/problem+json" } else { "application/json" };
    let response = (status, [(CONTENT_TYPE, media_type)], body.to_string());
    if status == StatusCode::ACCEPTED {
        (location(key), response).into_response()
    } else {
        response.into_response()
    }
}

fn location(key: &OrderKey) -> [(HeaderName, String); 1] {
    [(LOCATION, format!("/v1/orders/{key}"))]
}

/// `application/json` with any parameters, or no content type at all.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(content_type) = headers.get(CONTENT_TYPE) else {
        return true;
    };
    let essence = content_type.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(b"application/json")
}
