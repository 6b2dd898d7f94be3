//! WeChat's paths. Each call runs in a task of its own: a caller that hangs up does not undo what
//! the gateway is doing, here as there.

use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request as HttpRequest, State as Shared};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use time::OffsetDateTime;
use wechatpay_v2::{Fields, Limits, MchId};

use crate::answer::{Answer, draft};
use crate::door::Request;
use crate::faults::{Fault, write};
use crate::held::HeldCall;
use crate::order::OrderKey;
use crate::state::State;
use crate::view::Api;
use crate::{Simulator, closeorder, door, orderquery, unifiedorder};

pub(crate) fn routes() -> Router<Simulator> {
    let call = |api| any(move |Shared(s): Shared<Simulator>, request| serve(s, api, request));
    Router::new()
        .route(wechatpay_v2::unifiedorder::PATH, call(Api::Unifiedorder))
        .route(wechatpay_v2::orderquery::PATH, call(Api::Orderquery))
        .route(wechatpay_v2::closeorder::PATH, call(Api::Closeorder))
}

/// What goes back.
enum Reply {
    Message(String),
    Page(StatusCode),
    /// The connection closes.
    Dropped,
}

async fn serve(simulator: Simulator, api: Api, request: HttpRequest) -> Response {
    let is_post = request.method() == Method::POST;
    let body = to_bytes(request.into_body(), Limits::MESSAGE.bytes).await;
    let tasks = simulator.tasks().clone();
    let task = tasks.spawn(async move {
        // A body that is too large or cut off is no XML either.
        let parsed = door::read(is_post, body.as_deref().unwrap_or(b"<"));
        answer(&simulator, api, parsed).await
    });
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

/// A body that fails before its first byte: the server closes the connection without having
/// written anything, the head included.
fn dropped() -> Response {
    let failure = std::io::Error::other("dropped on request");
    let body = futures_util::stream::once(async { Err::<Vec<u8>, _>(failure) });
    Response::new(Body::from_stream(body))
}

async fn answer(simulator: &Simulator, api: Api, parsed: Result<Fields, String>) -> Reply {
    let started = Instant::now();
    let key = parsed.as_ref().ok().and_then(named);
    let fault = simulator.state().fault(api, key.as_ref());
    let call = HeldCall {
        api,
        mch_id: key.as_ref().map(|key| key.mch_id.to_string()),
        out_trade_no: key.as_ref().map(|key| key.out_trade_no.clone()),
    };
    let stopped = match &fault {
        Some(Fault::DelayMs(ms)) => {
            let pause = tokio::time::sleep(Duration::from_millis(*ms));
            simulator.stop().run_until_cancelled(pause).await.is_none()
        }
        Some(Fault::Hold) => !simulator.hold(call.clone()).await,
        _ => false,
    };
    if stopped {
        return Reply::Dropped;
    }
    let request = parsed.and_then(|fields| door::admit(fields, simulator.merchants()));
    let (answer, outcome) = commit(simulator, api, key, &request, fault.as_ref());
    let held = fault == Some(Fault::HoldAfterCommit);
    let stopped = held && !simulator.hold(call.clone()).await;
    let duration_ms = started.elapsed().as_millis();
    let (mch_id, out_trade_no) = (call.mch_id, call.out_trade_no);
    tracing::info!(?api, mch_id, out_trade_no, outcome, duration_ms, "called");
    match (answer, fault) {
        _ if stopped => Reply::Dropped,
        (_, Some(Fault::DropBefore | Fault::DropAfterCommit)) => Reply::Dropped,
        (_, Some(Fault::Status5xx)) => Reply::Page(StatusCode::BAD_GATEWAY),
        (_, Some(Fault::Html)) => Reply::Page(StatusCode::OK),
        (answer, fault) => Reply::Message(write(draft(answer, request.ok()), fault.as_ref())),
    }
}

/// Decides and counts, in one go: whoever sees the count sees the effect.
fn commit(
    simulator: &Simulator,
    api: Api,
    key: Option<OrderKey>,
    request: &Result<Request, String>,
    fault: Option<&Fault>,
) -> (Answer, String) {
    let mut state = simulator.state();
    let answer = match (request, fault.and_then(Fault::refusal)) {
        (Err(text), _) => Answer::Communication(text.clone()),
        (Ok(_), Some(refusal)) => refusal,
        (Ok(request), None) => {
            let shown = fault.and_then(Fault::trade_state);
            let answer = decide(&mut state, simulator, api, request, shown);
            match fault {
                Some(Fault::SystemErrorAfterCommit) => Answer::system_error(),
                _ => answer,
            }
        }
    };
    let outcome = fault.and_then(Fault::outcome).unwrap_or(answer.outcome());
    let outcome = outcome.to_owned();
    state.count(api, key, &outcome);
    (answer, outcome)
}

fn decide(
    state: &mut State,
    simulator: &Simulator,
    api: Api,
    request: &Request,
    shown: Option<&str>,
) -> Answer {
    let now = OffsetDateTime::now_utc();
    match api {
        Api::Unifiedorder => unifiedorder::decide(state, request, now),
        Api::Orderquery => orderquery::decide(state, request, shown),
        Api::Closeorder => {
            closeorder::decide(state, request, simulator.config().close_age_min, now)
        }
    }
}

/// The order that a call names, verified or not.
fn named(fields: &Fields) -> Option<OrderKey> {
    let out_trade_no = fields.get("out_trade_no")?;
    Some(OrderKey {
        mch_id: MchId::parse(fields.get("mch_id")?).ok()?,
        out_trade_no: out_trade_no.chars().take(32).collect(),
    })
}
