//! The reply to a command.

use serde::{Deserialize, Serialize};

use crate::{OrderView, Problem};

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
