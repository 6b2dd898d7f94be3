//! The reconciler: turns "we do not know" into a fact, and what has ended into `closed`.
//!
//! It claims the orders whose `next_check_at` has come, each with its call lease, asks WeChat, and
//! feeds the answer into the same machine as everybody else.

mod check;
pub(crate) mod plan;

use std::sync::Arc;
use std::time::Duration;

use orders::OrderKey;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;
use wechatpay_v2::AppId;

use crate::failpoint;
use crate::hands::Hands;
pub use plan::Patience;

/// Checks under way at once in one worker; each makes up to three calls, one after the other.
const CHECKS_IN_FLIGHT: usize = 32;
/// How often it looks for orders that are due.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Questions about orders that are not ours, waiting for a place; more are dropped.
const ASKS_MAX: usize = 64;

/// Has WeChat asked about a number that is no order of ours. The answer is kept as evidence.
#[derive(Clone, Debug)]
pub(crate) struct Asks(mpsc::Sender<(OrderKey, AppId)>);

/// The other end of [`Asks`].
pub(crate) type Asked = mpsc::Receiver<(OrderKey, AppId)>;

impl Asks {
    pub(crate) fn channel() -> (Self, Asked) {
        let (sender, receiver) = mpsc::channel(ASKS_MAX);
        (Self(sender), receiver)
    }

    /// Never waits.
    pub(crate) fn ask(&self, key: OrderKey, appid: AppId) {
        if self.0.try_send((key, appid)).is_err() {
            metrics::counter!("wxpay_queries_over_budget_total").increment(1);
        }
    }
}

/// Reconciles until `stop`, then finishes the checks under way.
pub(crate) async fn run(hands: Hands, mut asked: Asked, stop: CancellationToken) {
    let (hands, places) = (Arc::new(hands), Arc::new(Semaphore::new(CHECKS_IN_FLIGHT)));
    let checks = TaskTracker::new();
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = look.tick() => claim(&hands, &places, &checks).await,
            Some((key, appid)) = asked.recv() => {
                let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
                let hands = Arc::clone(&hands);
                checks.spawn(async move {
                    check::ask(&hands, key, appid).await;
                    drop(place);
                });
            }
        }
    }
    checks.close();
    checks.wait().await;
}

/// Claims as many orders as there are places, and begins their checks.
async fn claim(hands: &Arc<Hands>, places: &Arc<Semaphore>, checks: &TaskTracker) {
    let holder = Uuid::now_v7();
    let free = places.available_permits();
    if free == 0 {
        return;
    }
    let due = match hands.store.claim_due(holder, free as i64).await {
        Ok(due) => due,
        Err(error) => {
            tracing::warn!(%error, "orders that are due cannot be claimed");
            return;
        }
    };
    for stored in due {
        let (hands, place) = (Arc::clone(hands), Arc::clone(places));
        checks.spawn(async move {
            let _place = place.acquire_owned().await;
            failpoint::reached("reconcile.claimed");
            let key = stored.order.key();
            if let Err(error) = check::check(&hands, &stored, holder).await {
                tracing::warn!(%key, %error, "a check is left to the next claim");
            }
            failpoint::reached("reconcile.settled");
        });
    }
}
