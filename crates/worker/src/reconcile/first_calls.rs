use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;
use uuid::Uuid;
use wechatpay_v2::MchId;

use super::{check, check_span};
use crate::failpoint;
use crate::order_service::OrderService;
use crate::store::StoredOrder;

/// How often it looks for orders that wait for a place.
const IDLE_INTERVAL: Duration = Duration::from_millis(500);
/// How often while there are some: a lane must not run empty before it is filled again.
const BUSY_INTERVAL: Duration = Duration::from_millis(50);
/// Orders that are claimed at once.
const CLAIM_MAX: i64 = 512;

/// Brings orders that were never called, because their merchant's lane was full, back into it.
pub(crate) struct FirstCalls {
    service: Arc<OrderService>,
    calls: TaskTracker,
}

impl FirstCalls {
    pub(crate) fn new(service: OrderService) -> Self {
        Self { service: Arc::new(service), calls: TaskTracker::new() }
    }

    /// Runs until `stop`, then finishes the calls in progress.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut interval = IDLE_INTERVAL;
        while stop.run_until_cancelled(tokio::time::sleep(interval)).await.is_some() {
            interval = if self.claim().await > 0 { BUSY_INTERVAL } else { IDLE_INTERVAL };
        }
        self.calls.close();
        self.calls.wait().await;
    }

    /// Claims as many orders as there are places, the oldest first, and starts their calls. Returns
    /// how many.
    async fn claim(&self) -> usize {
        let places = self.service.gateway.available_places().into_iter();
        let places: Vec<(MchId, i64)> = places
            .filter(|(_, places)| *places > 0)
            .map(|(mch_id, places)| (mch_id, places as i64))
            .collect();
        if places.is_empty() {
            return 0;
        }
        let holder = Uuid::now_v7();
        let claimed = match self.service.store.claim_never_called(holder, &places, CLAIM_MAX).await
        {
            Ok(claimed) => claimed,
            Err(error) => {
                tracing::warn!(%error, "waiting orders could not be claimed; they wait on");
                return 0;
            }
        };
        let count = claimed.len();
        for stored in claimed {
            self.start(stored, holder);
        }
        count
    }

    fn start(&self, stored: StoredOrder, holder: Uuid) {
        let key = stored.order.key();
        let admission = self.service.gateway.admit_claimed(&key.mch_id);
        let service = Arc::clone(&self.service);
        let call = async move {
            failpoint::reached("reconcile.claimed");
            if let Err(error) = check::call_first(&service, &stored, holder, admission).await {
                tracing::warn!(%error, "a first call failed; it is checked when its lease has ended");
            }
        };
        self.calls.spawn(call.instrument(check_span(&key)));
    }
}
