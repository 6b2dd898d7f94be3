//! `POST /pay/orderquery`: what WeChat knows of an order (reference 2.3, 4.1).

use crate::call_outcome::{needs_a_fix, read_answer};
use crate::{Advice, AppId, Credentials, FieldError, Fields, MchId, Nonce, OutTradeNo, Payment};
use crate::{CallOutcome, Unknown};

/// The path below the host.
pub const PATH: &str = "/pay/orderquery";

/// The order that is asked about. One that belongs to a sub-merchant is asked for with its number.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "WeChat's own names")]
pub struct OrderQuery {
    pub appid: AppId,
    pub out_trade_no: OutTradeNo,
    pub sub_mch_id: Option<MchId>,
    pub sub_appid: Option<AppId>,
}

/// The state of the money (reference 4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TradeState {
    /// Paid.
    Success(Box<Payment>),
    /// Paid, and at least one refund was begun.
    Refund(Box<Payment>),
    /// Created, not paid (yet).
    NotPay,
    /// Closed: no further payment can arrive.
    Closed,
    /// Reversed (micropay only): no further payment can arrive.
    Revoked,
    /// The payer is typing the password.
    UserPaying,
    /// Accepted, waiting for the debit.
    Accept,
    /// The payment failed; not final.
    PayError,
    /// The set is open. Proves nothing.
    Other(String),
}

/// An authentic answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderStatus {
    /// The state.
    pub trade_state: TradeState,
    /// WeChat's text for people.
    pub trade_state_desc: String,
}

/// Signs the question.
#[must_use]
pub fn request(query: &OrderQuery, by: &Credentials, nonce: &Nonce) -> Fields {
    let mut fields = Fields::new();
    fields.insert("appid", query.appid.as_str());
    fields.insert("out_trade_no", query.out_trade_no.as_str());
    fields.insert_some("sub_mch_id", query.sub_mch_id.as_ref());
    fields.insert_some("sub_appid", query.sub_appid.as_ref());
    by.sign_request(fields, nonce)
}

/// Reads the answer. One about another number is *unknown*; every other difference from the order
/// is for the caller to judge, who knows the order.
pub fn read(body: &[u8], by: &Credentials, query: &OrderQuery) -> CallOutcome<OrderStatus> {
    read_answer(body, by, advice, |fields| {
        if fields.get("out_trade_no") != Some(query.out_trade_no.as_str()) {
            return Err(Unknown::Mismatch("out_trade_no"));
        }
        Ok(OrderStatus {
            trade_state: trade_state(fields)?,
            trade_state_desc: fields
                .get("trade_state_desc")
                .unwrap_or_default()
                .chars()
                .take(256)
                .collect(),
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

/// `ORDERNOTEXIST` is no state but an answer: it means that no unifiedorder of this number
/// succeeded *so far*, so a call still under way may change it. A code that is not in the table of
/// reference 2.3 proves nothing, and a question is safe to repeat.
fn advice(err_code: &str) -> Advice {
    match err_code {
        "INVALID_TRANSACTIONID" => Advice::FixRequest,
        code if needs_a_fix(code) => Advice::FixRequest,
        _ => Advice::Retry,
    }
}
