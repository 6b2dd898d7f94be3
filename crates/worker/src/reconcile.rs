//! The reconciler: turns "we do not know" into a fact, and what has ended into `closed`.
//!
//! It claims the orders whose `next_check_at` has come, each with its call lease, asks WeChat, and
//! feeds the answer into the same machine as everybody else.

mod check;

use std::sync::Arc;
use std::time::Duration;

use orders::OrderKey;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;
use wechatpay_v2::{AppId, MchId};

use crate::failpoint;
use crate::gateway::FairSemaphore;
use crate::order_service::OrderService;

/// How often it looks for orders that are due.
const CLAIM_INTERVAL: Duration = Duration::from_millis(500);
/// When a claim has left something behind, the next follows the first check that ends, after a
/// moment in which others end, too.
const CLAIM_SOON: Duration = Duration::from_millis(20);

/// Questions about orders that are not ours, waiting for a permit; more are dropped.
const QUERY_REQUESTS_MAX: usize = 64;

/// Has WeChat requests about a number that is no order of ours. The answer is kept as evidence.
#[derive(Clone, Debug)]
pub(crate) struct QueryRequests(mpsc::Sender<(OrderKey, AppId)>);

/// The other end of [`QueryRequests`].
pub(crate) type QueryRequestReceiver = mpsc::Receiver<(OrderKey, AppId)>;

impl QueryRequests {
    pub(crate) fn channel() -> (Self, QueryRequestReceiver) {
        let (sender, receiver) = mpsc::channel(QUERY_REQUESTS_MAX);
        (Self(sender), receiver)
    }

    /// Never waits.
    pub(crate) fn send(&self, key: OrderKey, appid: AppId) {
        if self.0.try_send((key, appid)).is_err() {
            metrics::counter!("wxpay_queries_over_budget_total").increment(1);
        }
    }
}

/// Reconciles until `stop`, then finishes the checks under way.
pub(crate) async fn run(
    service: OrderService,
    permits: FairSemaphore,
    mut requests: QueryRequestReceiver,
    stop: CancellationToken,
) {
    let service = Arc::new(service);
    let checks = TaskTracker::new();
    let mut tick = tokio::time::interval(CLAIM_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut more = false;
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = tick.tick() => more = claim(&service, &permits, &checks).await,
            () = permits.released(), if more => {
                tokio::time::sleep(CLAIM_SOON).await;
                more = claim(&service, &permits, &checks).await;
            }
            Some((key, appid)) = requests.recv() => {
                let merchants = service.merchants.all().len();
                let Some(permit) = permits.try_acquire(&key.mch_id, merchants) else { continue };
                let service = Arc::clone(&service);
                checks.spawn(async move {
                    check::query_only(&service, key, appid).await;
                    drop(permit);
                });
            }
        }
    }
    checks.close();
    checks.wait().await;
}

/// Claims as many orders as there are permits for them, and begins their checks. Whether more of
/// them may be due.
async fn claim(service: &Arc<OrderService>, permits: &FairSemaphore, checks: &TaskTracker) -> bool {
    let holder = Uuid::now_v7();
    let (available_capacity, free) = (available_capacity(service, permits), permits.available());
    if free == 0 || available_capacity.is_empty() {
        return true;
    }
    let due = match service.store.claim_due(holder, &available_capacity, free as i64).await {
        Ok(due) => due,
        Err(error) => {
            tracing::warn!(%error, "orders that are due cannot be claimed");
            return false;
        }
    };
    let merchants = service.merchants.all().len();
    let claimed = due.len();
    for stored in due {
        let (service, key) = (Arc::clone(service), stored.order.key());
        // Nobody else takes permits, so the one that was counted on is there.
        let permit = permits.try_acquire(&key.mch_id, merchants);
        checks.spawn(async move {
            failpoint::reached("reconcile.claimed");
            if let Err(error) = check::check(&service, &stored, holder).await {
                tracing::warn!(%key, %error, "a check is left to the next claim");
            }
            failpoint::reached("reconcile.settled");
            drop(permit);
        });
    }
    claimed == free
        || available_capacity
            .iter()
            .any(|(mch_id, _)| permits.available_capacity(mch_id, merchants) == 0)
}

/// How many orders of each merchant there is capacity for: as many as its guard would let call, and no
/// more than its share of the permits.
fn available_capacity(service: &OrderService, permits: &FairSemaphore) -> Vec<(MchId, i64)> {
    let available_capacity = service.gateway.available_capacity();
    let merchants = available_capacity.len();
    let available_capacity = available_capacity.into_iter().map(|(mch_id, capacity)| {
        let capacity = permits.available_capacity(&mch_id, merchants).min(capacity);
        (mch_id, capacity as i64)
    });
    available_capacity.filter(|(_, capacity)| *capacity > 0).collect()
}
