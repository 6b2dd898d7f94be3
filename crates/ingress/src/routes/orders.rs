//! The shops' orders: create, look at, close.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Request, State},
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode,
        header::{CONTENT_TYPE, LOCATION},
    },
    response::{IntoResponse, Response},
};
use broker::{Exchange, PublishError, topology};
use bytes::Bytes;
use orders::{FieldProblem, OrderKey, OrderRequest, Problem};
use tokio::time::Instant;

use super::order_in_path::OrderInPath;
use crate::{
    App, answer::Answer, authentication::Caller, body, observe::Subject, outbound::Letter, prefer,
    problem::Declined, traceparent,
};

const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

type Outcome = Result<Response, Declined>;

/// `POST /v1/orders`
pub(super) async fn create(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Outcome {
    let manner = Manner::of(request.headers());
    let is_json = is_json(request.headers());
    let body = body::read(request, app.limits.private_body_within).await?;
    if !is_json {
        return Err(Problem::malformed("its content-type is not application/json").into());
    }
    let order = OrderRequest::parse(&body).map_err(|error| Declined::from(error.into_problem()))?;
    let key = order.key();
    let outcome = async {
        caller.check_may_act_for(&key.mch_id)?;
        if !app.merchants.serve(&key.mch_id) {
            let field = FieldProblem::new("mch_id", "one of the merchants served here");
            return Err(Problem::invalid(vec![field]).into());
        }
        // What the shop wrote, byte for byte: the worker parses the same rules once more.
        command(&app, topology::ORDER_CREATE, &key, body, manner?).await
    };
    Ok(about(&key, outcome.await))
}

/// `POST /v1/orders/{mch_id}/{out_trade_no}/close`
pub(super) async fn close(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    OrderInPath(key): OrderInPath,
    request: Request,
) -> Response {
    let manner = Manner::of(request.headers());
    body::discard(request, app.limits.private_body_within).await;
    let outcome = async {
        check_reach(&app, &caller, &key)?;
        command(&app, topology::ORDER_CLOSE, &key, key_json(&key)?, manner?).await
    };
    about(&key, outcome.await)
}

/// `GET /v1/orders/{mch_id}/{out_trade_no}`
pub(super) async fn view(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    OrderInPath(key): OrderInPath,
    headers: HeaderMap,
) -> Response {
    let within = app.limits.query_within;
    let outcome = async {
        check_reach(&app, &caller, &key)?;
        let question = letter(topology::ORDER_QUERY, key_json(&key)?, traceparent::of(&headers));
        let answer = app.outbound.ask(question, within, Instant::now() + within).await;
        match answer {
            Ok(Some(answer)) => Ok(answered(&key, answer)),
            // A question that may be lost is as good as one that nobody answers.
            Ok(None) | Err(PublishError::Unknown) => Err(Problem::no_answer().into()),
            Err(error) => Err(error.into()),
        }
    };
    about(&key, outcome.await)
}

/// How a command wants to be sent.
struct Manner {
    traceparent: String,
    wait: Option<std::time::Duration>,
    since: Instant,
}

impl Manner {
    fn of(headers: &HeaderMap) -> Result<Self, Declined> {
        Ok(Self {
            traceparent: traceparent::of(headers),
            wait: prefer::wait(headers).map_err(Declined::header)?,
            since: Instant::now(),
        })
    }
}

/// Publishes a command and answers: accepted, or what the worker says if the shop wants to wait.
async fn command(
    app: &App,
    routing_key: &'static str,
    key: &OrderKey,
    body: Bytes,
    Manner { traceparent, wait, since }: Manner,
) -> Outcome {
    let letter = letter(routing_key, body, traceparent);
    let within = app.limits.command_within;
    let Some(wait) = wait else {
        app.outbound.publish(letter, within).await?;
        return Ok(accepted(key));
    };
    let answer = app.outbound.ask(letter, within, since + wait).await?;
    let mut response = answer.map_or_else(|| accepted(key), |answer| answered(key, answer));
    if let Ok(applied) = HeaderValue::try_from(format!("wait={}", wait.as_secs())) {
        response.headers_mut().insert(PREFERENCE_APPLIED, applied);
    }
    Ok(response)
}

fn letter(routing_key: &'static str, body: Bytes, traceparent: String) -> Letter {
    Letter {
        exchange: Exchange::Commands,
        routing_key,
        kind: routing_key,
        content_type: "application/json",
        body,
        traceparent,
        headers: Vec::new(),
    }
}

fn key_json(key: &OrderKey) -> Result<Bytes, Declined> {
    serde_json::to_vec(key).map(Bytes::from).map_err(|_| Problem::internal().into())
}

/// A merchant that is not served here has no orders here.
fn check_reach(app: &App, caller: &Caller, key: &OrderKey) -> Result<(), Declined> {
    caller.check_may_act_for(&key.mch_id)?;
    if app.merchants.serve(&key.mch_id) { Ok(()) } else { Err(Problem::not_found().into()) }
}

/// The command is safe on a queue.
fn accepted(key: &OrderKey) -> Response {
    let body = serde_json::json!({
        "mch_id": key.mch_id,
        "out_trade_no": key.out_trade_no,
        "status": "accepted",
    });
    (StatusCode::ACCEPTED, location(key), Json(body)).into_response()
}

fn answered(key: &OrderKey, Answer { status, body, is_problem }: Answer) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let media_type = if is_problem { "application/problem+json" } else { "application/json" };
    let response = (status, [(CONTENT_TYPE, media_type)], body.to_string());
    match status {
        StatusCode::ACCEPTED => (location(key), response).into_response(),
        _ => response.into_response(),
    }
}

fn location(key: &OrderKey) -> [(HeaderName, String); 1] {
    [(LOCATION, format!("/v1/orders/{key}"))]
}

/// Says in the log what the answer is about.
fn about(key: &OrderKey, outcome: Outcome) -> Response {
    let mut response = outcome.into_response();
    response.extensions_mut().insert(Subject::Order(key.clone()));
    response
}

/// `application/json`, whatever its parameters, or nothing at all.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(given) = headers.get(CONTENT_TYPE) else {
        return true;
    };
    let essence = given.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(b"application/json")
}
