use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

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
    asked: Arc<Mutex<Asked>>,
}

/// The orders that were asked about in one second.
#[derive(Debug, Default)]
struct Asked {
    second: i64,
    keys: HashSet<OrderKey>,
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
        (Self { sender, check_budget, asked: Arc::default() }, receiver)
    }

    pub(crate) fn query_unknown(&self, key: OrderKey, appid: AppId) {
        self.send(QueryRequest::Unknown { key, appid });
    }

    /// Someone asks about this payable order. One who asks often uses the budget once a second.
    pub(crate) fn check(&self, key: OrderKey) {
        let now = clock::now();
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.second != now.unix_timestamp() {
            *asked = Asked { second: now.unix_timestamp(), keys: HashSet::new() };
        }
        if !asked.keys.insert(key.clone()) {
            return;
        }
        drop(asked);
        if self.check_budget.take(&key.mch_id, now) {
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
    use wechatpay_v2::OutTradeNo;

    use super::*;

    #[test]
    fn checks_of_one_merchant_on_demand_are_bounded() {
        let (requests, mut receiver) = QueryRequests::channel();
        let key = accepted(&sample()).key();
        let numbered = |n| {
            let out_trade_no = OutTradeNo::parse(format!("{n:08}")).unwrap();
            OrderKey { out_trade_no, ..key.clone() }
        };
        // Over the end of a second at most twice the budget is used.
        for n in 0..10 * CHECKS_PER_SECOND {
            requests.check(numbered(n));
        }
        let sent = std::iter::from_fn(|| receiver.try_recv().ok()).count();
        let budget = usize::try_from(CHECKS_PER_SECOND).unwrap();
        assert!((budget..=2 * budget).contains(&sent), "{sent}");
    }

    #[test]
    fn order_that_many_ask_about_uses_the_budget_once_a_second() {
        let (requests, mut receiver) = QueryRequests::channel();
        let key = accepted(&sample()).key();
        for _ in 0..10 * CHECKS_PER_SECOND {
            requests.check(key.clone());
        }
        let sent = std::iter::from_fn(|| receiver.try_recv().ok()).count();
        assert!((1..=2).contains(&sent), "{sent}");
    }
}
