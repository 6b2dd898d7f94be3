use std::fmt;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use wechatpay_v2::pay_params::{AppPay, JsapiPay};
use wechatpay_v2::{BeijingTime, Fen, PrepayId, TransactionId};

use crate::{ExceptionKind, Failure, Order, OrderRequest, State, StateName};

/// An order as shops see it: the fields that they gave, and its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderView {
    #[serde(flatten)]
    pub request: OrderRequest,
    pub fee_type: String,
    pub state: StateName,
    pub seq: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prepay_id: Option<PrepayId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code_url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mweb_url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction_id: Option<TransactionId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_end: Option<BeijingTime>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cash_fee: Option<Fen>,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_message: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// The open ones; resolved ones are not shown.
    pub exceptions: Vec<ExceptionView>,
    /// What the front end passes to WeChat. Only in the reply to a create and in `order.payable`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pay: Option<Pay>,
}

/// An open exception, as a shop sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExceptionView {
    pub kind: ExceptionKind,
    #[serde(with = "time::serde::rfc3339")]
    pub opened_at: OffsetDateTime,
}

/// The signed parameters that start a payment, by trade type. `Debug` omits the signature and all
/// other values.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Pay {
    /// For mini program and JSAPI.
    Jsapi(JsapiPay),
    /// For the app SDK.
    App(AppPay),
}

impl fmt::Debug for Pay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Jsapi(_) => "Jsapi(…)",
            Self::App(_) => "App(…)",
        })
    }
}

impl OrderView {
    /// The view of an order, with its open exceptions. `pay` is dropped unless the order is payable,
    /// so that no payer is asked for an order that is paid or closed.
    #[must_use]
    pub fn of(order: &Order, exceptions: Vec<ExceptionView>, pay: Option<Pay>) -> Self {
        let mut view = Self {
            request: OrderRequest { time_expire: Some(order.time_expire), ..order.request.clone() },
            fee_type: "CNY".to_owned(),
            state: order.state.name(),
            seq: order.seq,
            prepay_id: None,
            code_url: None,
            mweb_url: None,
            transaction_id: None,
            time_end: None,
            cash_fee: None,
            created_at: order.created_at,
            updated_at: order.updated_at,
            gateway_message: order.gateway_message.clone(),
            failure: None,
            exceptions,
            pay: None,
        };
        match &order.state {
            State::Payable { prepay, .. } => {
                view.prepay_id = Some(prepay.prepay_id.clone());
                view.code_url.clone_from(&prepay.code_url);
                view.mweb_url.clone_from(&prepay.mweb_url);
                view.pay = pay;
            }
            State::Paid(payment) => {
                view.transaction_id = Some(payment.transaction_id.clone());
                view.time_end = Some(payment.time_end);
                view.cash_fee = payment.cash_fee;
            }
            State::Failed(failure) => view.failure = Some(failure.clone()),
            State::Created | State::Closing { .. } | State::Closed { .. } => {}
        }
        view
    }
}
