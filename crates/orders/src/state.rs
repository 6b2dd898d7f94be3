use std::fmt;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use wechatpay_v2::Payment;
use wechatpay_v2::unifiedorder::Prepay;

/// The state of an order, with the data that only this state has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Stored before the first call. WeChat may or may not know it.
    Created,
    /// WeChat issued a `prepay_id`; the payer can pay.
    Payable {
        /// The prepay that was issued last.
        prepay: Prepay,
        /// WeChat accepts it for two hours from here.
        issued_at: OffsetDateTime,
    },
    /// The money arrived; never left again.
    Paid(Box<Payment>),
    /// The close is decided; WeChat has not confirmed it yet.
    Closing {
        /// When it was decided. A payment that ended later is late.
        since: OffsetDateTime,
    },
    /// No further payment can arrive for this `out_trade_no`.
    Closed {
        /// When WeChat said so.
        at: OffsetDateTime,
    },
    /// WeChat refused the order for good.
    Failed(Failure),
}

/// Why WeChat refused an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub err_code: String,
    /// WeChat's text for humans.
    pub err_code_des: String,
}

/// The name of a state in tables, events and views.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateName {
    Created,
    Payable,
    Paid,
    Closing,
    Closed,
    Failed,
}

impl State {
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
    pub const ALL: [Self; 6] =
        [Self::Created, Self::Payable, Self::Paid, Self::Closing, Self::Closed, Self::Failed];

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
