use serde::{Deserialize, Serialize};
use wechatpay_v2::TransactionId;

/// Why money or identity does not fit. It waits for an operator, or for a fact that settles it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExceptionKind {
    /// A payment of another amount or currency than the order's.
    AmountMismatch,
    /// A payment that names another merchant, app or signature algorithm than the order, or whose
    /// transaction is booked on another order.
    IdentityMismatch,
    /// A payment that ended after the order was closed, failed, or began to close.
    LatePayment,
    /// A second payment on a paid order.
    DuplicatePayment,
    /// A payment for an unknown order.
    UnknownOrder,
    /// Notifications whose signature does not verify. One row per merchant and hour.
    BadSignature,
    /// A fact that the order's state cannot accept.
    Contradiction,
    /// WeChat gives no usable answer about the order.
    Unsettled,
}

/// An exception that was found while a fact was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exception {
    pub kind: ExceptionKind,
    /// The payment, if it is about one. A part of the exception's identity.
    pub transaction_id: Option<TransactionId>,
    pub differs: Vec<Difference>,
}

/// One field in which WeChat's message differs from the order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    pub field: String,
    /// The value that the order has.
    pub ours: String,
    /// The value that WeChat sent.
    pub theirs: String,
}

impl ExceptionKind {
    pub const ALL: [Self; 8] = [
        Self::AmountMismatch,
        Self::IdentityMismatch,
        Self::LatePayment,
        Self::DuplicatePayment,
        Self::UnknownOrder,
        Self::BadSignature,
        Self::Contradiction,
        Self::Unsettled,
    ];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AmountMismatch => "amount_mismatch",
            Self::IdentityMismatch => "identity_mismatch",
            Self::LatePayment => "late_payment",
            Self::DuplicatePayment => "duplicate_payment",
            Self::UnknownOrder => "unknown_order",
            Self::BadSignature => "bad_signature",
            Self::Contradiction => "contradiction",
            Self::Unsettled => "unsettled",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

impl Difference {
    pub(crate) fn new(field: &str, ours: impl ToString, theirs: impl ToString) -> Self {
        Self { field: field.to_owned(), ours: ours.to_string(), theirs: theirs.to_string() }
    }
}
