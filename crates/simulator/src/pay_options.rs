//! What can be unusual about a payment and its notification.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wechatpay_v2::{Coupon, Fen, TransactionId};

use crate::error::ControlError;
use crate::message::{can_be_name, can_be_text};

/// What is unusual about a payment. The default is an ordinary one.
// The groups below are not structs of their own: `serde(flatten)` would accept unknown fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct PayOptions {
    // The payment.
    /// Instead of a new one.
    pub transaction_id: Option<TransactionId>,
    /// Coupons that the payer used; the rest is cash.
    pub coupons: Vec<Coupon>,
    /// Pay an order that is paid once more, with another `transaction_id`.
    pub second_payment: bool,
    /// Pay an order that is closed or expired: a late payment.
    pub force: bool,
    /// The order becomes paid, without a notification.
    pub state_only: bool,
    /// A notification without a payment, forged or early; the order need not even exist. For a paid
    /// order it reports the existing payment.
    pub notify_only: bool,

    // How the notification is delivered.
    /// How often it is sent at once (1 by default, at most 100). Unless one of these is answered
    /// `SUCCESS`, the schedule of repeats follows. 0 means never.
    pub notify: Option<u32>,
    /// Send those at the same time instead of one after the other.
    pub concurrently: bool,
    /// The delay before the first send.
    pub delay_ms: u64,
    /// Repeats carry a fresh nonce and signature instead of the same bytes.
    pub fresh_nonce: bool,
    /// Another address to send it to.
    pub notify_url: Option<String>,
    /// Return the notification instead of sending it.
    pub hold: bool,

    // What is forged in the notification: the first four replace the order's own.
    pub total_fee: Option<Fen>,
    pub mch_id: Option<String>,
    pub appid: Option<String>,
    pub out_trade_no: Option<String>,
    /// Elements to add or replace, signed.
    pub extra_fields: BTreeMap<String, String>,
    /// Elements to send empty.
    pub empty_fields: Vec<String>,
    pub sign: Signing,
    pub malform: Option<Malformation>,
}

/// How a notification is signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signing {
    /// With the algorithm of the order.
    #[default]
    Order,
    /// With MD5, whatever the order's algorithm.
    #[serde(rename = "MD5")]
    Md5,
    /// With HMAC-SHA256, whatever the order's algorithm.
    #[serde(rename = "HMAC-SHA256")]
    HmacSha256,
    /// One digit is wrong.
    Wrong,
    /// With another merchant's key.
    OtherKey,
    /// There is no `sign` element.
    Missing,
    /// There is an empty `sign` element.
    Empty,
    /// With the order's algorithm, but in lower case.
    Lowercase,
}

/// What is wrong with a notification's form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Malformation {
    /// It begins with a DOCTYPE that has an external entity.
    Doctype,
    /// It contains `total_fee` twice.
    Duplicate,
    /// It ends in the middle.
    Truncated,
    /// An element contains an element.
    Nested,
    /// Well-formed and correctly signed, but over 70 KB.
    Huge,
    /// It contains a text in GBK.
    Gbk,
    /// Something follows the document.
    Trailing,
    /// There is no `return_code`; correctly signed.
    NoReturnCode,
    /// `return_code=FAIL` and nothing else, unsigned.
    ReturnFail,
    /// `return_code=SUCCESS` but `result_code=FAIL`, correctly signed.
    ResultFail,
}

const NOTIFY_MAX: u32 = 100;
const COUPONS_MAX: usize = 50;
const EXTRA_FIELDS_MAX: usize = 200;
/// Elements that the notification gets when it is signed.
const COMPUTED_FIELDS: [&str; 2] = ["sign", "nonce_str"];

impl PayOptions {
    /// Whether it repeats the notification of the existing payment.
    pub(crate) fn is_repeat(&self) -> bool {
        let another = self.second_payment || self.transaction_id.is_some();
        self.notify_only && !another && self.coupons.is_empty()
    }

    pub(crate) fn check(&self) -> Result<(), ControlError> {
        let rule = if self.notify.is_some_and(|times| times > NOTIFY_MAX) {
            "notify is at most 100"
        } else if self.state_only && (self.notify_only || self.hold) {
            "state_only excludes notify_only and hold"
        } else if self.coupons.len() > COUPONS_MAX || self.extra_fields.len() > EXTRA_FIELDS_MAX {
            "at most 50 coupons and 200 extra_fields"
        } else if !self.names().all(|name| can_be_name(name) && !COMPUTED_FIELDS.contains(&name)) {
            "a field needs a valid XML name other than sign and nonce_str"
        } else if !self.texts().all(can_be_text) {
            "a text has a character that XML does not allow"
        } else if !self.notify_url.as_deref().is_none_or(is_url) {
            "notify_url must be a URL"
        } else {
            return Ok(());
        };
        Err(ControlError::Invalid(rule))
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        let empty = self.empty_fields.iter();
        self.extra_fields.keys().chain(empty).map(String::as_str)
    }

    fn texts(&self) -> impl Iterator<Item = &str> {
        let coupons = self.coupons.iter();
        let coupons = coupons.flat_map(|c| [Some(&c.coupon_id), c.coupon_type.as_ref()]);
        let overrides = [&self.mch_id, &self.appid, &self.out_trade_no].map(Option::as_ref);
        let texts = coupons.chain(overrides).flatten();
        texts.chain(self.extra_fields.values()).map(String::as_str)
    }
}

fn is_url(text: &str) -> bool {
    reqwest::Url::parse(text).is_ok_and(|url| url.has_host())
}
