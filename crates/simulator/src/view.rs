//! What the simulator reports, in JSON and to tests in the same process. No openid, no key and no
//! signature is in it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::api::Api;
use crate::order::{Order, OrderKey};
use crate::payment::Payment;

/// An order at the gateway. Amounts in fen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderView {
    pub mch_id: String,
    pub appid: String,
    pub out_trade_no: String,
    pub trade_type: String,
    pub body: String,
    pub total_fee: i64,
    pub sign_type: String,
    pub notify_url: String,
    /// The names of the business parameters that the first unifiedorder had.
    pub parameters: Vec<String>,
    pub trade_state: String,
    /// Of the first payment.
    pub transaction_id: Option<String>,
    pub payments: Vec<PaymentView>,
    /// Those issued last, the newest at the end.
    pub prepay_ids: Vec<String>,
    /// How many unifiedorder calls issued a `prepay_id`.
    pub unifiedorder_count: u64,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    pub closed_at: Option<OffsetDateTime>,
    pub notifications: Vec<NotificationView>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentView {
    pub transaction_id: String,
    /// `yyyyMMddHHmmss` in Beijing time.
    pub time_end: String,
    pub total_fee: i64,
}

/// A notification and every attempt to deliver it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotificationView {
    /// Counts up over all notifications.
    pub id: u64,
    pub transaction_id: String,
    pub notify_url: String,
    pub state: NotificationState,
    /// When the next attempt begins.
    #[serde(with = "time::serde::rfc3339::option")]
    pub next_at: Option<OffsetDateTime>,
    /// In the order in which they were made.
    pub attempts: Vec<AttemptView>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotificationState {
    /// Not answered `SUCCESS` yet; more attempts will come.
    Pending,
    /// An attempt was answered `SUCCESS`.
    Delivered,
    /// Never answered `SUCCESS`, and nothing more will come.
    Exhausted,
}

/// One attempt to deliver a notification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptView {
    /// When the attempt began.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// The HTTP status, when an answer arrived.
    pub status: Option<u16>,
    #[serde(rename = "verdict")]
    pub outcome: AttemptOutcome,
    /// Until the answer was read or the attempt failed.
    pub duration_ms: u64,
}

/// How WeChat reads the answer to a notification; only `success` stops the repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptOutcome {
    /// Status 200, and an XML whose `return_code` is `SUCCESS`.
    Success,
    /// Status 200, and an XML whose `return_code` is anything else.
    Fail,
    /// Status 200, and a body that is no message.
    Unreadable,
    /// A status other than 200.
    Status,
    /// No complete answer in time.
    Timeout,
    /// No connection, or one that broke.
    Unreachable,
}

/// How often the gateway was called.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestCounts {
    /// Per call and outcome: `SUCCESS`, an `err_code`, `FAIL` (communication), or a fault's name.
    pub apis: BTreeMap<Api, BTreeMap<String, u64>>,
    pub orders: Vec<OrderCalls>,
}

/// How often the gateway was called about one order, whatever the outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderCalls {
    pub mch_id: String,
    pub out_trade_no: String,
    pub unifiedorder: u64,
    pub orderquery: u64,
    pub closeorder: u64,
}

impl OrderView {
    pub(crate) fn of(key: &OrderKey, order: &Order, notifications: Vec<NotificationView>) -> Self {
        let text = |name: &str| order.parameters.get(name).unwrap_or_default().to_owned();
        let payments: Vec<_> = order.payments.iter().map(PaymentView::of).collect();
        Self {
            mch_id: key.mch_id.to_string(),
            appid: text("appid"),
            out_trade_no: key.out_trade_no.clone(),
            trade_type: text("trade_type"),
            body: text("body"),
            total_fee: order.total_fee.get(),
            sign_type: order.sign_type.as_str().to_owned(),
            notify_url: text("notify_url"),
            parameters: order.parameters.iter().map(|(name, _)| name.to_owned()).collect(),
            trade_state: order.trade_state.clone(),
            transaction_id: payments.first().map(|p| p.transaction_id.clone()),
            payments,
            prepay_ids: order.prepay_ids.iter().cloned().collect(),
            unifiedorder_count: order.issued_count,
            created_at: order.created_at,
            closed_at: order.closed_at,
            notifications,
        }
    }
}

impl PaymentView {
    fn of(payment: &Payment) -> Self {
        Self {
            transaction_id: payment.transaction_id.to_string(),
            time_end: payment.time_end.to_string(),
            total_fee: payment.total_fee.get(),
        }
    }
}
