use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use wechatpay_v2::unifiedorder::Prepay;
use wechatpay_v2::{Payment, SignType};

use crate::Failure;

/// What is known from WeChat, or decided about an order: the only input of the state machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// unifiedorder was answered with a `prepay_id`.
    PrepayIssued(Prepay),
    /// unifiedorder was refused for good.
    CreateRefused(Failure),
    /// A verified notification, or an authentic answer to orderquery, says that the order is paid.
    Paid {
        payment: Box<Payment>,
        /// The algorithm that signed the message.
        sign_type: SignType,
    },
    /// A shop, an operator or the expiry wants the order closed.
    CloseRequested,
    /// WeChat says that no further payment can arrive.
    Closed,
}

/// The kind of a [`Fact`]. `Accepted` belongs to an order's first transition, which has no fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FactKind {
    Accepted,
    PrepayIssued,
    CreateRefused,
    Paid,
    CloseRequested,
    Closed,
}

/// Where a fact came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// WeChat's answer to unifiedorder or closeorder.
    Reply,
    /// A notification from WeChat.
    Notify,
    /// WeChat's answer to orderquery.
    Query,
    /// A command of a shop.
    Shop,
    /// A command of an operator.
    Operator,
}

impl Fact {
    #[must_use]
    pub fn kind(&self) -> FactKind {
        match self {
            Self::PrepayIssued(_) => FactKind::PrepayIssued,
            Self::CreateRefused(_) => FactKind::CreateRefused,
            Self::Paid { .. } => FactKind::Paid,
            Self::CloseRequested => FactKind::CloseRequested,
            Self::Closed => FactKind::Closed,
        }
    }

    /// The fact as its transition stores it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut value = match self {
            Self::PrepayIssued(prepay) => json!({ "prepay": prepay }),
            Self::CreateRefused(failure) => json!({ "failure": failure }),
            Self::Paid { payment, sign_type } => {
                json!({ "payment": payment, "sign_type": sign_type })
            }
            Self::CloseRequested | Self::Closed => json!({}),
        };
        value["kind"] = json!(self.kind());
        value
    }
}

impl FactKind {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::PrepayIssued => "prepay_issued",
            Self::CreateRefused => "create_refused",
            Self::Paid => "paid",
            Self::CloseRequested => "close_requested",
            Self::Closed => "closed",
        }
    }
}

impl Source {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reply => "reply",
            Self::Notify => "notify",
            Self::Query => "query",
            Self::Shop => "shop",
            Self::Operator => "operator",
        }
    }
}
