use std::sync::Arc;

use orders::OrderKey;
use service::metrics::names;
use tokio::sync::mpsc;
use wechatpay_v2::AppId;

use crate::budget::Budget;
use crate::clock;

/// Requests that wait for a permit; more are dropped.
const CHANNEL_MAX: usize = 64;
/// Checks a second of one merchant's orders because someone asks. Payers who come back from paying
/// are fewer; a shop that asks in a loop uses no more of its merchant's rate.
const CHECKS_PER_SECOND: u32 = 20;

/// Requests queries that are not due. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct QueryRequests {
    sender: mpsc::Sender<QueryRequest>,
    check_budget: Arc<Budget>,
}

pub(crate) type QueryRequestReceiver = mpsc::Receiver<QueryRequest>;

#[derive(Debug)]
pub(crate) enum QueryRequest {
    /// Of a number without an order. The answer is recorded as evidence.
    Unknown { key: OrderKey, appid: AppId },
    /// A check of a payable order, unless it was checked a moment ago.
    OnDemand(OrderKey),
}

impl QueryRequests {
    pub(crate) fn channel() -> (Self, QueryRequestReceiver) {
        let (sender, receiver) = mpsc::channel(CHANNEL_MAX);
        let check_budget = Arc::new(Budget::new(1, CHECKS_PER_SECOND));
        (Self { sender, check_budget }, receiver)
    }

    pub(crate) fn query_unknown(&self, key: OrderKey, appid: AppId) {
        self.send(QueryRequest::Unknown { key, appid });
    }

    /// Someone asks about this payable order.
    pub(crate) fn check(&self, key: OrderKey) {
        if self.check_budget.take(&key.mch_id, clock::now()) {
            self.send(QueryRequest::OnDemand(key));
        } else {
            metrics::counter!(names::QUERIES_OVER_BUDGET).increment(1);
        }
    }

    /// Never waits: a full channel drops the request.
    fn send(&self, request: QueryRequest) {
        if self.sender.try_send(request).is_err() {
            metrics::counter!(names::QUERIES_OVER_BUDGET).increment(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use orders::testing::{accepted, sample};

    use super::*;

    #[test]
    fn checks_of_one_merchant_on_demand_are_bounded() {
        let (requests, mut receiver) = QueryRequests::channel();
        let key = accepted(&sample()).key();
        // Over the end of a second at most twice the budget is used.
        for _ in 0..10 * CHECKS_PER_SECOND {
            requests.check(key.clone());
        }
        let sent = std::iter::from_fn(|| receiver.try_recv().ok()).count();
        let budget = usize::try_from(CHECKS_PER_SECOND).unwrap();
        assert!((budget..=2 * budget).contains(&sent), "{sent}");
    }
}
