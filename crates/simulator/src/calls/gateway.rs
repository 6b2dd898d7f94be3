//! Serves WeChat's paths. Each call runs in a task of its own, so that it takes effect even if its
//! caller disconnects, as at WeChat.

use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request as HttpRequest, State as Shared};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use time::OffsetDateTime;
use tracing::{Instrument, info_span};
use wechatpay_v2::{Fields, Limits, MchId};

use crate::api::Api;
use crate::calls::answer::Answer;
use crate::calls::authenticate::{Request, authenticate, parse_body};
use crate::calls::{closeorder, orderquery, unifiedorder};
use crate::faults::fault::Fault;
use crate::faults::held::HeldCall;
use crate::order::OrderKey;
use crate::simulator::Simulator;
use crate::state::State;

pub(crate) fn routes() -> Router<Simulator> {
    let call = |api| any(move |Shared(s): Shared<Simulator>, request| serve(s, api, request));
    Router::new()
        .route(wechatpay_v2::unifiedorder::PATH, call(Api::Unifiedorder))
        .route(wechatpay_v2::orderquery::PATH, call(Api::Orderquery))
        .route(wechatpay_v2::closeorder::PATH, call(Api::Closeorder))
}

enum Reply {
    Message(String),
    Page(StatusCode),
    /// The connection closes without an answer.
    Dropped,
}

async fn serve(simulator: Simulator, api: Api, request: HttpRequest) -> Response {
    let is_post = request.method() == Method::POST;
    let body = to_bytes(request.into_body(), Limits::MESSAGE.bytes).await;
    // A body that is too large or cut off counts as malformed XML.
    let parsed = parse_body(is_post, body.as_deref().unwrap_or(b"<"));
    let key = parsed.as_ref().ok().and_then(order_key);
    let span = info_span!(
        "call",
        ?api,
        mch_id = key.as_ref().map(|key| key.mch_id.as_str()),
        out_trade_no = key.as_ref().map(|key| key.out_trade_no.as_str()),
    );
    let tasks = simulator.tasks().clone();
    let call = async move { answer(&simulator, api, key, parsed).await };
    let task = tasks.spawn(call.instrument(span));
    match task.await.unwrap_or(Reply::Dropped) {
        Reply::Message(xml) => {
            ([(header::CONTENT_TYPE, "text/xml; charset=utf-8")], xml).into_response()
        }
        Reply::Page(status) => {
            let page = "<html><head><title>error</title></head><body>busy</body></html>";
            (status, [(header::CONTENT_TYPE, "text/html")], page).into_response()
        }
        Reply::Dropped => dropped(),
    }
}

/// A body that fails before its first byte: the server then closes the connection without writing
/// anything, not even the head.
fn dropped() -> Response {
    let failure = std::io::Error::other("dropped on request");
    let body = futures_util::stream::once(async { Err::<Vec<u8>, _>(failure) });
    Response::new(Body::from_stream(body))
}

async fn answer(
    simulator: &Simulator,
    api: Api,
    key: Option<OrderKey>,
    parsed: Result<Fields, String>,
) -> Reply {
    let started = Instant::now();
    let fault = simulator.state().take_fault(api, key.as_ref());
    let call = HeldCall {
        api,
        mch_id: key.as_ref().map(|key| key.mch_id.to_string()),
        out_trade_no: key.as_ref().map(|key| key.out_trade_no.clone()),
    };
    let continues = match &fault {
        Some(Fault::DelayMs(ms)) => {
            let pause = tokio::time::sleep(Duration::from_millis(*ms));
            simulator.stop_token().run_until_cancelled(pause).await.is_some()
        }
        Some(Fault::Hold) => simulator.hold(call.clone()).await,
        _ => true,
    };
    if !continues {
        return Reply::Dropped;
    }
    let request = parsed.and_then(|fields| authenticate(fields, simulator.merchants()));
    let answer = commit(simulator, api, key, &request, fault.as_ref());
    let is_held = fault == Some(Fault::HoldAfterCommit);
    let stops = is_held && !simulator.hold(call).await;
    let outcome = outcome(&answer, fault.as_ref());
    let duration_ms = started.elapsed().as_millis();
    tracing::info!(outcome, duration_ms, "answered");
    match fault {
        _ if stops => Reply::Dropped,
        Some(Fault::DropBefore | Fault::DropAfterCommit) => Reply::Dropped,
        Some(Fault::Status5xx) => Reply::Page(StatusCode::BAD_GATEWAY),
        Some(Fault::Html) => Reply::Page(StatusCode::OK),
        fault => Reply::Message(answer.into_xml(request.ok(), fault.as_ref())),
    }
}

/// Executes and counts under one lock: a test that sees the count also sees the effect.
fn commit(
    simulator: &Simulator,
    api: Api,
    key: Option<OrderKey>,
    request: &Result<Request, String>,
    fault: Option<&Fault>,
) -> Answer {
    let mut state = simulator.state();
    let answer = match request {
        Err(text) => Answer::Communication(text.clone()),
        Ok(request) => match fault.and_then(Answer::without_effect) {
            Some(answer) => answer,
            None => execute(&mut state, simulator, api, request, fault),
        },
    };
    state.count(api, key, outcome(&answer, fault));
    answer
}

fn execute(
    state: &mut State,
    simulator: &Simulator,
    api: Api,
    request: &Request,
    fault: Option<&Fault>,
) -> Answer {
    let now = OffsetDateTime::now_utc();
    let answer = match api {
        Api::Unifiedorder => unifiedorder::execute(state, request, now),
        Api::Orderquery => orderquery::execute(state, request, fault.and_then(Fault::trade_state)),
        Api::Closeorder => {
            closeorder::execute(state, request, simulator.config().close_age_min, now)
        }
    };
    if fault == Some(&Fault::SystemErrorAfterCommit) { Answer::system_error() } else { answer }
}

/// The name under which the call is counted and logged.
fn outcome<'a>(answer: &'a Answer, fault: Option<&Fault>) -> &'a str {
    fault.and_then(Fault::outcome).unwrap_or(answer.outcome())
}

/// The order that a call names, authenticated or not.
fn order_key(fields: &Fields) -> Option<OrderKey> {
    let out_trade_no = fields.get("out_trade_no")?;
    Some(OrderKey {
        mch_id: MchId::parse(fields.get("mch_id")?).ok()?,
        out_trade_no: out_trade_no.chars().take(32).collect(),
    })
}
