use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use wechatpay_v2::unifiedorder::Prepay;
use wechatpay_v2::{Payment, SignType};

use crate::Failure;

/// What we have learned from WeChat, or decided about an order: the only input of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// unifiedorder was answered with a `prepay_id`.
    PrepayIssued(Prepay),
    /// unifiedorder was refused for good.
    CreateRefused(Failure),
    /// WeChat says that the order is paid: a verified notification or an authentic query answer.
    Paid {
        /// What WeChat says.
        payment: Box<Payment>,
        /// The algorithm that the message was signed with.
        sign_type: SignType,
    },
    /// A shop, an operator or the expiry wants the order closed.
    CloseRequested,
    /// WeChat says that no further payment can arrive.
    Closed,
}

/// The kind of a [`Fact`], and `Accepted` for the birth of an order, which no fact precedes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "described at Fact")]
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
    /// A notification.
    Notify,
    /// WeChat's answer to orderquery.
    Query,
    /// A shop's command.
    Shop,
    /// A person.
    Operator,
}

impl Fact {
    /// The kind.
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

    /// The fact as it is written down with its transition.
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
    /// The lower-case text.
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
    /// The lower-case text.
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
