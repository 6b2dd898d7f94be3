//! The control API, in JSON, under `/_sim/`. It has no authentication.

use axum::body::Bytes;
use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::control::page;
use crate::error::ControlError;
use crate::faults::held::{HeldCall, HeldCallFilter};
use crate::faults::plan::FaultPlan;
use crate::pay_options::PayOptions;
use crate::simulator::Simulator;
use crate::view::{NotificationView, OrderView, RequestCounts};

pub(crate) fn routes() -> Router<Simulator> {
    Router::new()
        .route("/_sim", get(async || Redirect::permanent("/_sim/")))
        .route("/_sim/", get(page::serve))
        .route("/_sim/healthz", get(async || Json(json!({"status": "ok"}))))
        .route("/_sim/orders", get(orders))
        .route("/_sim/orders/{mch_id}/{out_trade_no}", get(order))
        .route("/_sim/notifications/{mch_id}/{out_trade_no}", get(notifications))
        .route("/_sim/pay/{mch_id}/{out_trade_no}", post(pay))
        .route("/_sim/state/{mch_id}/{out_trade_no}", post(set_state))
        .route("/_sim/faults", get(faults).post(set_faults).delete(clear_faults))
        .route("/_sim/release", post(release))
        .route("/_sim/requests", get(requests))
}

type Sim = Shared<Simulator>;
type Order = Path<(String, String)>;

async fn pay(
    Shared(simulator): Sim,
    Path((mch_id, out_trade_no)): Order,
    body: Bytes,
) -> Result<Json<Value>, Failure> {
    let options: PayOptions = parse(&body)?;
    let paid = simulator.pay(&mch_id, &out_trade_no, &options)?;
    let mut answer = json!({
        "transaction_id": paid.transaction_id,
        "time_end": paid.time_end.to_string(),
    });
    match paid.body.map(String::from_utf8) {
        None => {}
        Some(Ok(text)) => answer["body"] = text.into(),
        // The notification is no UTF-8, so it does not fit into a JSON string.
        Some(Err(bytes)) => {
            answer["body_hex"] = service::hex::encode(bytes.as_bytes()).into();
        }
    }
    Ok(Json(answer))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OrdersQuery {
    limit: Option<usize>,
}

#[derive(Serialize)]
struct Orders {
    orders: Vec<OrderView>,
}

/// All orders, the oldest first; with `limit`, that many of the newest, the newest first.
async fn orders(Shared(simulator): Sim, Form(query): Form<OrdersQuery>) -> Json<Orders> {
    let orders = match query.limit {
        Some(limit) => simulator.newest_orders(limit),
        None => simulator.orders(),
    };
    Json(Orders { orders })
}

async fn order(
    Shared(simulator): Sim,
    Path((mch_id, out_trade_no)): Order,
) -> Result<Json<OrderView>, Failure> {
    let order = simulator.order(&mch_id, &out_trade_no);
    Ok(Json(order.ok_or(ControlError::NotFound("no such order"))?))
}

async fn notifications(
    Shared(simulator): Sim,
    Path((mch_id, out_trade_no)): Order,
) -> Json<Vec<NotificationView>> {
    Json(simulator.notifications(&mch_id, &out_trade_no))
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewState {
    trade_state: String,
}

async fn set_state(
    Shared(simulator): Sim,
    Path((mch_id, out_trade_no)): Order,
    body: Bytes,
) -> Result<Json<OrderView>, Failure> {
    let wanted: NewState = parse(&body)?;
    Ok(Json(simulator.set_state(&mch_id, &out_trade_no, &wanted.trade_state)?))
}

#[derive(Serialize)]
struct FaultsView {
    plan: FaultPlan,
    held: Vec<HeldCall>,
}

async fn faults(Shared(simulator): Sim) -> Json<FaultsView> {
    Json(FaultsView { plan: simulator.faults(), held: simulator.held_calls() })
}

async fn set_faults(simulator: Sim, body: Bytes) -> Result<Json<FaultsView>, Failure> {
    simulator.set_faults(parse(&body)?)?;
    Ok(faults(simulator).await)
}

async fn clear_faults(simulator: Sim) -> Result<Json<FaultsView>, Failure> {
    simulator.set_faults(FaultPlan::default())?;
    Ok(faults(simulator).await)
}

async fn release(Shared(simulator): Sim, body: Bytes) -> Result<Json<Value>, Failure> {
    let which: HeldCallFilter = parse(&body)?;
    Ok(Json(json!({"released": simulator.release(&which)})))
}

async fn requests(Shared(simulator): Sim) -> Json<RequestCounts> {
    Json(simulator.request_counts())
}

/// Parses a body whatever its content type; an empty one means the defaults.
fn parse<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, Failure> {
    if body.trim_ascii().is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(body)
        .map_err(|error| Failure(StatusCode::BAD_REQUEST, error.to_string()))
}

struct Failure(StatusCode, String);

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Self {
        let status = match error {
            ControlError::NotFound(_) => StatusCode::NOT_FOUND,
            ControlError::Conflict(_) => StatusCode::CONFLICT,
            ControlError::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            ControlError::Busy => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self(status, error.to_string())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, Json(json!({"error": self.1}))).into_response()
    }
}
