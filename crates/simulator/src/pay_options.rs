//! What can be strange about a payment and its notification.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wechatpay_v2::{Coupon, Fen, TransactionId};

use crate::ControlError;
use crate::message::{can_be_name, can_be_text};

/// Everything that can be strange about a payment. The default is an ordinary one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct PayOptions {
    /// How often the notification is sent at once (1 unless said, at most 100). Until one of them
    /// is answered `SUCCESS` the schedule of repeats follows. 0: never.
    pub notify: Option<u32>,
    /// Send those at the same time instead of one after the other.
    pub concurrently: bool,
    /// Wait so long before the first send.
    pub delay_ms: u64,
    /// Repeats carry a fresh nonce and signature instead of the same bytes.
    pub fresh_nonce: bool,
    /// Another amount, in the notification only.
    pub total_fee: Option<Fen>,
    /// Instead of a new one.
    pub transaction_id: Option<TransactionId>,
    /// Pay an order that is paid once more, with another `transaction_id`.
    pub second_payment: bool,
    /// Pay an order that is closed or expired: a late payment.
    pub force: bool,
    /// Coupons that the payer used; the rest is cash.
    pub coupons: Vec<Coupon>,
    /// Elements to add or replace, signed.
    pub extra_fields: BTreeMap<String, String>,
    /// Elements to send empty.
    pub empty_fields: Vec<String>,
    /// How the notification is signed.
    pub sign: Signing,
    /// What is wrong with its form.
    pub malform: Option<Malformation>,
    /// Another merchant in the notification.
    pub mch_id: Option<String>,
    /// Another app in the notification.
    pub appid: Option<String>,
    /// Another number in the notification.
    pub out_trade_no: Option<String>,
    /// Another address to send it to.
    pub notify_url: Option<String>,
    /// The order becomes paid; no notification exists.
    pub state_only: bool,
    /// A notification without a payment: forged or early, the order need not even exist. About an
    /// order that is paid it tells the payment that there is.
    pub notify_only: bool,
    /// Write the notification and return it instead of sending it.
    pub hold: bool,
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
    /// `sign` is empty.
    Empty,
    /// In lower case.
    Lowercase,
}

/// What is wrong with a notification's form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Malformation {
    /// A DOCTYPE with an external entity stands in front.
    Doctype,
    /// `total_fee` appears twice.
    Duplicate,
    /// It ends in the middle.
    Truncated,
    /// An element inside an element.
    Nested,
    /// Well-formed and well signed, but over 70 KB.
    Huge,
    /// Holds a text in GBK.
    Gbk,
    /// Something follows the document.
    Trailing,
    /// There is no `return_code`; well signed.
    NoReturnCode,
    /// `return_code=FAIL` and nothing else, unsigned.
    ReturnFail,
    /// `result_code=FAIL`, well signed.
    ResultFail,
}

const NOTIFY_MAX: u32 = 100;
const COUPONS_MAX: usize = 50;
const EXTRA_FIELDS_MAX: usize = 200;
/// Elements that are made when the notification is written.
const OWN: [&str; 2] = ["sign", "nonce_str"];

impl PayOptions {
    /// Whether it asks to tell a payment that was made already.
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
        } else if !self.names().all(|name| can_be_name(name) && !OWN.contains(&name)) {
            "a field's name is one of XML's, and neither sign nor nonce_str"
        } else if !self.texts().all(can_be_text) {
            "a text holds what XML cannot carry"
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
