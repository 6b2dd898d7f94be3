//! A payment, as a notification and an `orderquery` answer report it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::xml::contains_doctype_or_entity;
use crate::{
    AppId, BeijingTime, Fen, FieldError, Fields, MchId, OpenId, OutTradeNo, TransactionId,
};

/// A payment as WeChat reports it.
///
/// `Debug` shows what identifies the payment and its amount; the rest can be personal data.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payment {
    /// WeChat's number of the payment.
    pub transaction_id: TransactionId,
    /// The merchant's number of the order.
    pub out_trade_no: OutTradeNo,
    /// The merchant; in provider mode the provider.
    pub mch_id: MchId,
    /// The app of the order; in provider mode the provider's.
    pub appid: AppId,
    /// The sub-merchant, for service providers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_mch_id: Option<MchId>,
    /// The sub-merchant's app, for service providers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_appid: Option<AppId>,
    /// The amount to compare with the order.
    pub total_fee: Fen,
    /// The currency; `CNY` if WeChat leaves it out.
    pub fee_type: String,
    /// What the payer paid after coupons; can be 0. Never the amount to compare.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cash_fee: Option<Fen>,
    /// `total_fee` without coupons of the type `NO_CASH`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settlement_total_fee: Option<Fen>,
    /// The sum of all coupons.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coupon_fee: Option<Fen>,
    /// The coupons in WeChat's order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub coupons: Vec<Coupon>,
    /// The payer under `appid`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub openid: Option<OpenId>,
    /// The payer under `sub_appid`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_openid: Option<OpenId>,
    /// Where the payer paid. The list is open, so the text is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trade_type: Option<String>,
    /// The payer's bank or balance. The list is open, so the text is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bank_type: Option<String>,
    /// The text that was sent with the order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attach: Option<String>,
    /// When the payment was completed.
    pub time_end: BeijingTime,
}

/// One coupon of a payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coupon {
    /// WeChat's number of the coupon.
    pub coupon_id: String,
    /// `CASH` or `NO_CASH`; only for merchants with free-charge coupons.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coupon_type: Option<String>,
    /// The amount that the coupon covered.
    pub coupon_fee: Fen,
}

// Coupons are indexed from 0, and WeChat's count field has two digits.
const COUPONS_MAX: usize = 100;

// The elements that are compared with an order, and how each begins inside a string to sign.
const COMPARED: [(&str, &str); 8] = [
    ("fee_type", "&fee_type="),
    ("mch_id", "&mch_id="),
    ("out_trade_no", "&out_trade_no="),
    ("result_code", "&result_code="),
    ("return_code", "&return_code="),
    ("time_end", "&time_end="),
    ("total_fee", "&total_fee="),
    ("transaction_id", "&transaction_id="),
];

impl Payment {
    /// Reads a payment from the elements of a verified message.
    ///
    /// # Errors
    /// The first field that is missing or malformed, or that is hidden inside the text of another.
    pub fn from_fields(fields: &Fields) -> Result<Self, FieldError> {
        refuse_hidden_elements(fields)?;
        let text = |name: &str| fields.get(name).unwrap_or_default();
        let optional = |name: &str| fields.get(name).map(str::to_owned);
        let sub_mch_id = optional("sub_mch_id").map(MchId::parse).transpose();
        let sub_appid = optional("sub_appid").map(AppId::parse).transpose();
        let sub_openid = optional("sub_openid").map(OpenId::parse).transpose();
        let fen = |name: &'static str| fields.get(name).map(|t| Fen::parse(name, t)).transpose();
        Ok(Self {
            transaction_id: TransactionId::parse(text("transaction_id"))?,
            out_trade_no: OutTradeNo::parse(text("out_trade_no"))?,
            mch_id: MchId::parse(text("mch_id"))?,
            appid: AppId::parse(text("appid"))?,
            sub_mch_id: sub_mch_id.map_err(|error| error.for_field("sub_mch_id"))?,
            sub_appid: sub_appid.map_err(|error| error.for_field("sub_appid"))?,
            total_fee: Fen::parse("total_fee", text("total_fee"))?,
            fee_type: optional("fee_type").unwrap_or_else(|| "CNY".to_owned()),
            cash_fee: fen("cash_fee")?,
            settlement_total_fee: fen("settlement_total_fee")?,
            coupon_fee: fen("coupon_fee")?,
            coupons: coupons(fields)?,
            openid: optional("openid").map(OpenId::parse).transpose()?,
            sub_openid: sub_openid.map_err(|error| error.for_field("sub_openid"))?,
            trade_type: optional("trade_type"),
            bank_type: optional("bank_type"),
            attach: optional("attach"),
            time_end: BeijingTime::parse("time_end", text("time_end"))?,
        })
    }
}

/// Whether [`Payment::from_fields`] accepts a payment in which `field` has this text.
///
/// WeChat returns `attach` and `device_info` as they were sent. Check them before sending: if the
/// true notification looks like a forgery, the order never becomes paid.
#[must_use]
pub fn is_safe_to_echo(field: &str, text: &str) -> bool {
    // WeChat may leave out only `fee_type`.
    let has = |name: &str| name != "fee_type";
    !contains_doctype_or_entity(text) && element_hidden_in(field, text, has).is_none()
}

// The string to sign does not show whether `attach=a&total_fee=1` is one element or two. An attacker
// who chose the `attach` and can rewrite the message could turn a part of it into elements, and hide
// the true elements in another text. WeChat itself sends no such text.
fn refuse_hidden_elements(fields: &Fields) -> Result<(), FieldError> {
    let has = |name: &str| fields.get(name).is_some();
    match fields.iter().find_map(|(name, text)| element_hidden_in(name, text, has)) {
        Some(name) => Err(FieldError::new(name, "an element of its own")),
        None => Ok(()),
    }
}

// The compared element that begins inside a text. Inside an `attach` it is harmless if the message
// also has the element: `attach` sorts before all compared elements, so if its text had absorbed the
// true element, no other of that name could follow. If the message does not have it, the one inside
// may be the true one.
fn element_hidden_in(field: &str, text: &str, has: impl Fn(&str) -> bool) -> Option<&'static str> {
    let inside = COMPARED.iter().filter(|(_, pair)| text.contains(pair));
    inside.map(|(name, _)| *name).find(|name| field != "attach" || !has(name))
}

impl fmt::Debug for Payment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Payment")
            .field("transaction_id", &self.transaction_id)
            .field("out_trade_no", &self.out_trade_no)
            .field("mch_id", &self.mch_id)
            .field("appid", &self.appid)
            .field("total_fee", &self.total_fee)
            .field("fee_type", &self.fee_type)
            .field("time_end", &self.time_end)
            .finish_non_exhaustive()
    }
}

fn coupons(fields: &Fields) -> Result<Vec<Coupon>, FieldError> {
    (0..COUPONS_MAX)
        .map_while(|n| Some((n, fields.get(&format!("coupon_id_{n}"))?)))
        .map(|(n, coupon_id)| {
            let fee = fields.get(&format!("coupon_fee_{n}")).unwrap_or_default();
            Ok(Coupon {
                coupon_id: coupon_id.to_owned(),
                coupon_type: fields.get(&format!("coupon_type_{n}")).map(str::to_owned),
                coupon_fee: Fen::parse("coupon_fee_n", fee)?,
            })
        })
        .collect()
}
