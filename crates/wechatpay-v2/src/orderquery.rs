//! `POST /pay/orderquery`: what WeChat knows of an order ([protocol](crate::protocol#orderquery)).

use crate::call_outcome::{is_fix_request_in_every_call, read_answer};
use crate::{
    Advice, AppId, CallOutcome, Credentials, FieldError, Fields, MchId, Nonce, OutTradeNo, Payment,
    Unknown,
};

/// The path of the call's URL.
pub const PATH: &str = "/pay/orderquery";

/// The order to query.
#[derive(Clone, Debug)]
pub struct OrderQuery {
    /// The `appid` of the order.
    pub appid: AppId,
    /// The number to query by.
    pub out_trade_no: OutTradeNo,
    /// The sub-merchant of the order, for service providers.
    pub sub_mch_id: Option<MchId>,
    /// The sub-merchant's app, if the order has one.
    pub sub_appid: Option<AppId>,
}

/// What WeChat knows of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderStatus {
    /// The state of the money.
    pub trade_state: TradeState,
    /// WeChat's description of the state, cut to 256 characters. Its wording is not stable.
    pub trade_state_desc: String,
}

/// The state of the money. Only `Success` and `Refund` prove a payment; only `Closed` and `Revoked`
/// prove that none can arrive any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TradeState {
    /// `SUCCESS`: the order is paid.
    Success(Box<Payment>),
    /// `REFUND`: the order was paid, and at least one refund was started.
    Refund(Box<Payment>),
    /// `NOTPAY`: not paid yet, also after the payer cancelled.
    NotPay,
    /// `CLOSED`: no further payment can arrive.
    Closed,
    /// `REVOKED` (micropay only): no further payment can arrive.
    Revoked,
    /// `USERPAYING`: the payer is entering the password.
    UserPaying,
    /// `ACCEPT`: accepted, waiting for the debit.
    Accept,
    /// `PAYERROR`: the payment failed, but the payer may try again.
    PayError,
    /// A state that this crate does not know, cut to 32 characters. It proves nothing.
    Other(String),
}

/// Builds and signs the request.
#[must_use]
pub fn request(query: &OrderQuery, credentials: &Credentials, nonce: &Nonce) -> Fields {
    let mut fields = Fields::new();
    fields.insert("appid", query.appid.as_str());
    fields.insert("out_trade_no", query.out_trade_no.as_str());
    fields.insert_some("sub_mch_id", query.sub_mch_id.as_ref());
    fields.insert_some("sub_appid", query.sub_appid.as_ref());
    credentials.sign_request(fields, nonce)
}

/// Reads the answer. An answer about another number is unknown. The caller, who knows the order,
/// compares the payment with it.
pub fn read(
    body: &[u8],
    credentials: &Credentials,
    query: &OrderQuery,
) -> CallOutcome<OrderStatus> {
    read_answer(body, credentials, advice, |fields| {
        if fields.get("out_trade_no") != Some(query.out_trade_no.as_str()) {
            return Err(Unknown::Mismatch("out_trade_no"));
        }
        let description = fields.get("trade_state_desc").unwrap_or_default();
        Ok(OrderStatus {
            trade_state: trade_state(fields)?,
            trade_state_desc: description.chars().take(256).collect(),
        })
    })
}

fn trade_state(fields: &Fields) -> Result<TradeState, FieldError> {
    let payment = || Payment::from_fields(fields).map(Box::new);
    Ok(match fields.get("trade_state") {
        Some("SUCCESS") => TradeState::Success(payment()?),
        Some("REFUND") => TradeState::Refund(payment()?),
        Some("NOTPAY") => TradeState::NotPay,
        Some("CLOSED") => TradeState::Closed,
        Some("REVOKED") => TradeState::Revoked,
        Some("USERPAYING") => TradeState::UserPaying,
        Some("ACCEPT") => TradeState::Accept,
        Some("PAYERROR") => TradeState::PayError,
        Some(other) => TradeState::Other(other.chars().take(32).collect()),
        None => return Err(FieldError::new("trade_state", "present")),
    })
}

// PROTOCOL.md, "Error codes". An unlisted code proves nothing, and a query is safe to repeat. That
// includes `ORDERNOTEXIST`: no unifiedorder call of this number has succeeded so far, but one that
// is still in flight can.
fn advice(err_code: &str) -> Advice {
    match err_code {
        "INVALID_TRANSACTIONID" => Advice::FixRequest,
        code if is_fix_request_in_every_call(code) => Advice::FixRequest,
        _ => Advice::Retry,
    }
}
