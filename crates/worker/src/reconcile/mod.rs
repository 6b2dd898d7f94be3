//! The reconciler: turns "we do not know" into a fact, and what has ended into `closed`.
//!
//! It claims the orders whose `next_check_at` has come, each with its call lease, asks WeChat, and
//! feeds the answer into the same machine as everybody else.

mod check;
pub(crate) mod plan;

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
use crate::gateway::Shares;
use crate::hands::Hands;
pub use plan::Patience;

/// How often it looks for orders that are due.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// When a claim has left something behind, the next follows the first check that ends, after a
/// moment in which others end, too.
const LOOK_SOON: Duration = Duration::from_millis(20);

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
pub(crate) async fn run(hands: Hands, places: Shares, mut asked: Asked, stop: CancellationToken) {
    let hands = Arc::new(hands);
    let checks = TaskTracker::new();
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut more = false;
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = look.tick() => more = claim(&hands, &places, &checks).await,
            () = places.freed(), if more => {
                tokio::time::sleep(LOOK_SOON).await;
                more = claim(&hands, &places, &checks).await;
            }
            Some((key, appid)) = asked.recv() => {
                let merchants = hands.merchants.all().len();
                let Some(place) = places.take(&key.mch_id, merchants) else { continue };
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

/// Claims as many orders as there are places for them, and begins their checks. Whether more of
/// them may be due.
async fn claim(hands: &Arc<Hands>, places: &Shares, checks: &TaskTracker) -> bool {
    let holder = Uuid::now_v7();
    let (rooms, free) = (rooms(hands, places), places.free());
    if free == 0 || rooms.is_empty() {
        return true;
    }
    let due = match hands.store.claim_due(holder, &rooms, free as i64).await {
        Ok(due) => due,
        Err(error) => {
            tracing::warn!(%error, "orders that are due cannot be claimed");
            return false;
        }
    };
    let merchants = hands.merchants.all().len();
    let claimed = due.len();
    for stored in due {
        let (hands, key) = (Arc::clone(hands), stored.order.key());
        // Nobody else takes places, so the one that was counted on is there.
        let place = places.take(&key.mch_id, merchants);
        checks.spawn(async move {
            failpoint::reached("reconcile.claimed");
            if let Err(error) = check::check(&hands, &stored, holder).await {
                tracing::warn!(%key, %error, "a check is left to the next claim");
            }
            failpoint::reached("reconcile.settled");
            drop(place);
        });
    }
    claimed == free || rooms.iter().any(|(mch_id, _)| places.room(mch_id, merchants) == 0)
}

/// How many orders of each merchant there is room for: as many as its guard would let call, and no
/// more than its share of the places.
fn rooms(hands: &Hands, places: &Shares) -> Vec<(MchId, i64)> {
    let rooms = hands.gateway.rooms();
    let merchants = rooms.len();
    let rooms = rooms.into_iter().map(|(mch_id, room)| {
        let room = places.room(&mch_id, merchants).min(room);
        (mch_id, room as i64)
    });
    rooms.filter(|(_, room)| *room > 0).collect()
}
