//! The body of `order.close` and `order.query`, and the reply to every command.

use std::fmt;

use serde::{Deserialize, Serialize};
use wechatpay_v2::{MchId, OutTradeNo};

use crate::{OrderView, Problem};

/// An order's identity. It is the whole body of `order.close` and `order.query`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
    /// 200, or 202 while the outcome of the first call is unknown.
    Order {
        status: u16,
        order: Box<OrderView>,
    },
    Problem {
        status: u16,
        problem: Problem,
    },
}

impl Reply {
    #[must_use]
    pub fn order(status: u16, order: OrderView) -> Self {
        Self::Order { status, order: Box::new(order) }
    }

    #[must_use]
    pub fn problem(problem: Problem) -> Self {
        Self::Problem { status: problem.status, problem }
    }
}
