//! What someone asks of us, as it travels on the command queue, and what is answered.

use std::fmt;

use serde::{Deserialize, Serialize};
use wechatpay_v2::{MchId, OutTradeNo};

use crate::{OrderView, Problem};

/// An order's identity, and the whole body of `order.close` and `order.query`, which
/// [`OrderKey::parse`] reads with every fault named.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "WeChat's own names")]
pub struct OrderKey {
    pub mch_id: MchId,
    pub out_trade_no: OutTradeNo,
}

impl fmt::Display for OrderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.mch_id, self.out_trade_no)
    }
}

/// The answer to a command: `{"status": 200, "order": {…}}` or `{"status": 409, "problem": {…}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Reply {
    /// The order as it is: 200, or 202 while its first outcome is unknown.
    Order {
        /// The HTTP status.
        status: u16,
        /// The view.
        order: Box<OrderView>,
    },
    /// The command is declined.
    Problem {
        /// The HTTP status.
        status: u16,
        /// Why.
        problem: Problem,
    },
}

impl Reply {
    /// The order, with the status that says whether its first outcome is known.
    #[must_use]
    pub fn order(status: u16, order: OrderView) -> Self {
        Self::Order { status, order: Box::new(order) }
    }

    /// A problem under its own status.
    #[must_use]
    pub fn problem(problem: Problem) -> Self {
        Self::Problem { status: problem.status, problem }
    }
}
