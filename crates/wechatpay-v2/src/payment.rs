//! What a paid order looks like, the same in a notification and in an `orderquery` answer.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    AppId, BeijingTime, Fen, FieldError, Fields, MchId, OpenId, OutTradeNo, TransactionId,
    xml::holds_doctype,
};

/// A payment as WeChat reports it (reference 2.3, 3.2). All amounts in fen.
///
/// `Debug` shows what identifies the payment and its amount; the rest can be personal.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "WeChat's own names; their meaning is reference 3.2")]
pub struct Payment {
    pub transaction_id: TransactionId,
    pub out_trade_no: OutTradeNo,
    pub mch_id: MchId,
    pub appid: AppId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_mch_id: Option<MchId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_appid: Option<AppId>,
    /// The amount to compare with the order.
    pub total_fee: Fen,
    /// `CNY` when WeChat leaves it out.
    pub fee_type: String,
    /// What the payer really paid; 0 when coupons covered all. Never the amount to compare.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cash_fee: Option<Fen>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settlement_total_fee: Option<Fen>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coupon_fee: Option<Fen>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub coupons: Vec<Coupon>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub openid: Option<OpenId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_openid: Option<OpenId>,
    /// An open list: kept as it came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trade_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bank_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attach: Option<String>,
    pub time_end: BeijingTime,
}

/// One coupon of a payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "WeChat's own names")]
pub struct Coupon {
    pub coupon_id: String,
    /// `CASH` or `NO_CASH`; only for merchants with free-charge coupons.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coupon_type: Option<String>,
    pub coupon_fee: Fen,
}

/// Coupons are indexed from 0; WeChat's count field has two digits.
const COUPONS_MAX: usize = 100;

/// What a payment is judged by, as it begins inside a string to sign.
const JUDGED: [(&str, &str); 8] = [
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
    /// Reads a payment out of a verified message.
    ///
    /// # Errors
    /// The first field that is missing or malformed, or that stands inside another one's text.
    pub fn from_fields(fields: &Fields) -> Result<Self, FieldError> {
        nothing_swallowed(fields)?;
        let text = |name: &str| fields.get(name).unwrap_or_default();
        let own = |name: &str| fields.get(name).map(str::to_owned);
        let sub_mch_id = own("sub_mch_id").map(MchId::parse).transpose();
        let sub_appid = own("sub_appid").map(AppId::parse).transpose();
        let sub_openid = own("sub_openid").map(OpenId::parse).transpose();
        let fen = |name: &'static str| fields.get(name).map(|t| Fen::parse(name, t)).transpose();
        Ok(Self {
            transaction_id: TransactionId::parse(text("transaction_id"))?,
            out_trade_no: OutTradeNo::parse(text("out_trade_no"))?,
            mch_id: MchId::parse(text("mch_id"))?,
            appid: AppId::parse(text("appid"))?,
            sub_mch_id: sub_mch_id.map_err(|error| error.of("sub_mch_id"))?,
            sub_appid: sub_appid.map_err(|error| error.of("sub_appid"))?,
            total_fee: Fen::parse("total_fee", text("total_fee"))?,
            fee_type: own("fee_type").unwrap_or_else(|| "CNY".to_owned()),
            cash_fee: fen("cash_fee")?,
            settlement_total_fee: fen("settlement_total_fee")?,
            coupon_fee: fen("coupon_fee")?,
            coupons: coupons(fields)?,
            openid: own("openid").map(OpenId::parse).transpose()?,
            sub_openid: sub_openid.map_err(|error| error.of("sub_openid"))?,
            trade_type: own("trade_type"),
            bank_type: own("bank_type"),
            attach: own("attach"),
            time_end: BeijingTime::parse("time_end", text("time_end"))?,
        })
    }
}

/// Whether a payment whose `field` is this text of the shop's can be read here. WeChat gives back
/// `attach` and `device_info` as they were sent, so whoever sends them asks this first: an order
/// whose true notification looks like a forgery is never known to be paid.
#[must_use]
pub fn is_safe_to_echo(field: &str, text: &str) -> bool {
    // WeChat leaves `fee_type` out where it is CNY.
    let has = |name: &str| name != "fee_type";
    !holds_doctype(text) && hidden_in(field, text, has).is_none()
}

/// `attach=a&total_fee=1` may be one element or two: the string to sign is the same. Whoever chose
/// the `attach` and can rewrite the message on its way could have a part of it read as elements of
/// their own, if another text swallowed the true ones. WeChat puts no such text anywhere.
fn nothing_swallowed(fields: &Fields) -> Result<(), FieldError> {
    let has = |name: &str| fields.get(name).is_some();
    match fields.iter().find_map(|(name, text)| hidden_in(name, text, has)) {
        Some(name) => Err(FieldError::new(name, "an element of its own")),
        None => Ok(()),
    }
}

/// The judged element that begins inside a text. In an `attach` it is the shop's own and harmless,
/// for no judged element comes before it; but one that the message has nowhere else, as it may be
/// with `fee_type`, may be the true one, swallowed.
fn hidden_in(field: &str, text: &str, has: impl Fn(&str) -> bool) -> Option<&'static str> {
    let mut inside = JUDGED.iter().filter(|(_, pair)| text.contains(pair)).map(|(name, _)| *name);
    inside.find(|name| field != "attach" || !has(name))
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
