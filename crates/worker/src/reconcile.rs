//! The reconciler replaces unknown outcomes by facts and closes orders that have expired.
//!
//! It claims the orders whose `next_check_at` has passed, each with its call lease, queries WeChat,
//! and applies the answer by the same state machine as commands and notifications.

mod check;
mod first_calls;
mod lost_notifications;
mod query_requests;

use std::sync::Arc;
use std::time::Duration;

use orders::OrderKey;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, Span, info_span};
use uuid::Uuid;
use wechatpay_v2::MchId;

use crate::failpoint;
use crate::gateway::{FairSemaphore, Priority};
use crate::order_service::OrderService;
use crate::store::StoredOrder;
use query_requests::QueryRequest;

pub(crate) use first_calls::FirstCalls;
pub(crate) use lost_notifications::LostNotifications;
pub(crate) use query_requests::{QueryRequestReceiver, QueryRequests};

/// How often it claims the orders that are due.
const CLAIM_INTERVAL: Duration = Duration::from_millis(500);
/// When a claim has left orders behind, the next claim follows the first check that ends, after a
/// moment in which others end, too.
const NEXT_CLAIM_DELAY: Duration = Duration::from_millis(20);

pub(crate) struct Reconciler {
    service: Arc<OrderService>,
    permits: FairSemaphore,
    checks: TaskTracker,
}

impl Reconciler {
    pub(crate) fn new(service: OrderService, concurrent_checks: usize) -> Self {
        let permits = FairSemaphore::new(concurrent_checks, service.merchants.clone());
        Self { service: Arc::new(service), permits, checks: TaskTracker::new() }
    }

    /// Runs until `stop`, then finishes the checks in progress.
    pub(crate) async fn run(self, mut requests: QueryRequestReceiver, stop: CancellationToken) {
        let mut interval = tokio::time::interval(CLAIM_INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut more_are_due = false;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = interval.tick() => more_are_due = self.claim().await,
                () = self.permits.released(), if more_are_due => {
                    tokio::time::sleep(NEXT_CLAIM_DELAY).await;
                    more_are_due = self.claim().await;
                }
                Some(request) = requests.recv() => self.take_request(request),
            }
        }
        self.checks.close();
        self.checks.wait().await;
    }

    /// Claims as many due orders as there are permits, and starts their checks. Returns whether
    /// more orders may be due.
    async fn claim(&self) -> bool {
        let holder = Uuid::now_v7();
        let capacity = self.available_capacity();
        let permits = self.permits.available_permits();
        if permits == 0 || capacity.is_empty() {
            return true;
        }
        let due = match self.service.store.claim_due(holder, &capacity, permits as i64).await {
            Ok(due) => due,
            Err(error) => {
                tracing::warn!(%error, "due orders could not be claimed; they are tried again");
                return false;
            }
        };
        let claimed = due.len();
        for stored in due {
            self.spawn_check(stored, holder);
        }
        claimed == permits
            || capacity.iter().any(|(mch_id, _)| self.permits.available_capacity(mch_id) == 0)
    }

    fn spawn_check(&self, stored: StoredOrder, holder: Uuid) {
        let key = stored.order.key();
        // Only this loop acquires permits, so the one that was counted on is there.
        let permit = self.permits.try_acquire(&key.mch_id);
        let service = Arc::clone(&self.service);
        let check = async move {
            failpoint::reached("reconcile.claimed");
            if let Err(error) = check::check(&service, &stored, holder, Priority::Check).await {
                tracing::warn!(%error, "a check failed; it is repeated when its lease has ended");
            }
            failpoint::reached("reconcile.settled");
            drop(permit);
        };
        self.checks.spawn(check.instrument(check_span(&key)));
    }

    /// A request for which there is no permit is left out.
    fn take_request(&self, request: QueryRequest) {
        let (QueryRequest::Unknown { key, .. } | QueryRequest::OnDemand(key)) = &request;
        let Some(permit) = self.permits.try_acquire(&key.mch_id) else { return };
        let service = Arc::clone(&self.service);
        let span = check_span(key);
        let query = async move {
            match request {
                QueryRequest::Unknown { key, appid } => {
                    check::query_unknown(&service, key, appid).await;
                }
                QueryRequest::OnDemand(key) => check_on_demand(&service, &key).await,
            }
            drop(permit);
        };
        self.checks.spawn(query.instrument(span));
    }

    /// How many orders of each merchant can be checked now: limited by the merchant's limiter and
    /// by its share of the permits.
    fn available_capacity(&self) -> Vec<(MchId, i64)> {
        let capacity = self.service.gateway.available_checks().into_iter();
        let capacity = capacity.map(|(mch_id, calls)| {
            let checks = self.permits.available_capacity(&mch_id).min(calls);
            (mch_id, checks as i64)
        });
        capacity.filter(|(_, checks)| *checks > 0).collect()
    }
}

/// Checks a payable order unless another check runs or has ended a moment ago.
async fn check_on_demand(service: &OrderService, key: &OrderKey) {
    let holder = Uuid::now_v7();
    let pause = service.schedule.on_demand_pause;
    let checked = match service.store.claim_on_demand(key, holder, pause).await {
        Ok(Some(stored)) => {
            failpoint::reached("reconcile.claimed");
            check::check(service, &stored, holder, Priority::OnDemand).await
        }
        Ok(None) => return,
        Err(error) => Err(error),
    };
    if let Err(error) = checked {
        tracing::warn!(%error, "a check on demand failed; the order is checked when it is due");
    }
}

fn check_span(key: &OrderKey) -> Span {
    info_span!("check", mch_id = %key.mch_id, out_trade_no = %key.out_trade_no)
}
