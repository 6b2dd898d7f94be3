use serde::{Deserialize, Serialize};
use wechatpay_v2::TransactionId;

/// What does not fit: money or identity that waits for a rule or a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExceptionKind {
    /// A payment of another amount or currency than the order's.
    AmountMismatch,
    /// A payment that names another merchant, app or algorithm than the order, or a transaction
    /// that is booked on another order.
    IdentityMismatch,
    /// A payment that arrived when the order was no longer meant to be paid.
    LatePayment,
    /// A second payment on a paid order.
    DuplicatePayment,
    /// A payment for a number that we do not know.
    UnknownOrder,
    /// Messages that do not verify (one row per merchant and hour).
    BadSignature,
    /// A fact that the order's state cannot accept.
    Contradiction,
    /// An order that WeChat gives no answer about.
    Unsettled,
}

/// An exception that was found while applying a fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exception {
    /// What kind it is.
    pub kind: ExceptionKind,
    /// The payment it is about, where there is one; a part of the exception's identity.
    pub transaction_id: Option<TransactionId>,
    /// What differs, for the person who looks at it.
    pub differs: Vec<Difference>,
}

/// One thing that is not as the order says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The field's name.
    pub field: String,
    /// What the order says.
    pub ours: String,
    /// What WeChat says.
    pub theirs: String,
}

impl ExceptionKind {
    /// Every kind.
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

    /// The lower-case text.
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

    /// The kind that has this text.
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
