use std::fmt;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use wechatpay_v2::Payment;
use wechatpay_v2::unifiedorder::Prepay;

/// Where an order stands, with the data that only this state has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Written down before the first call; WeChat may or may not know it.
    Created,
    /// WeChat issued a `prepay_id`; the payer can pay.
    Payable {
        /// The one issued last.
        prepay: Prepay,
        /// It is valid two hours from here.
        issued_at: OffsetDateTime,
    },
    /// The money arrived.
    Paid(Box<Payment>),
    /// We decided to close; WeChat has not confirmed yet.
    Closing {
        /// When we decided. A payment that ended later is late.
        since: OffsetDateTime,
    },
    /// No further payment should arrive on this number.
    Closed {
        /// When we learned it.
        at: OffsetDateTime,
    },
    /// WeChat refused for good.
    Failed(Failure),
}

/// Why WeChat refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// WeChat's machine code.
    pub err_code: String,
    /// WeChat's text for people.
    pub err_code_des: String,
}

/// The name of a state, as it stands in the table, in events and in views.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "described at State")]
pub enum StateName {
    Created,
    Payable,
    Paid,
    Closing,
    Closed,
    Failed,
}

impl State {
    /// The state's name.
    #[must_use]
    pub fn name(&self) -> StateName {
        match self {
            Self::Created => StateName::Created,
            Self::Payable { .. } => StateName::Payable,
            Self::Paid(_) => StateName::Paid,
            Self::Closing { .. } => StateName::Closing,
            Self::Closed { .. } => StateName::Closed,
            Self::Failed(_) => StateName::Failed,
        }
    }
}

impl StateName {
    /// Every name.
    pub const ALL: [Self; 6] =
        [Self::Created, Self::Payable, Self::Paid, Self::Closing, Self::Closed, Self::Failed];

    /// The lower-case text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Payable => "payable",
            Self::Paid => "paid",
            Self::Closing => "closing",
            Self::Closed => "closed",
            Self::Failed => "failed",
        }
    }

    /// The name that has this text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|name| name.as_str() == text)
    }
}

impl fmt::Display for StateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
