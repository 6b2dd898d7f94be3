//! Finds out that a merchant's notifications do not arrive. Its young orders are checked often until
//! they arrive again.

use std::collections::BTreeSet;

use service::metrics::names;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use wechatpay_v2::MchId;

use crate::notified_payments::NotifiedPayments;
use crate::schedule::CheckSchedule;
use crate::store::{Store, StoreError};

/// Less often than this is too late for a payment that must be found within 30 s.
const INTERVALS_PER_CHECK: u32 = 4;

/// The merchants whose notifications are taken to be lost.
pub(crate) struct LostNotifications {
    store: Store,
    schedule: CheckSchedule,
    notified: NotifiedPayments,
    lost: BTreeSet<MchId>,
}

impl LostNotifications {
    pub(crate) fn new(store: Store, schedule: CheckSchedule, notified: NotifiedPayments) -> Self {
        Self { store, schedule, notified, lost: BTreeSet::new() }
    }

    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut interval =
            tokio::time::interval(self.schedule.lost_check_interval / INTERVALS_PER_CHECK);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(interval.tick()).await.is_some() {
            if let Err(error) = self.update().await {
                tracing::warn!(%error, "lost notifications are looked for again");
            }
        }
    }

    async fn update(&mut self) -> Result<(), StoreError> {
        let found = self.store.found_payments(self.schedule.lost_after).await?;
        let lost = found
            .into_iter()
            .filter(|found| !self.notified.is_any_after(&found.mch_id, found.last_at));
        self.replace(lost.map(|found| found.mch_id).collect());
        for mch_id in &self.lost {
            self.store.advance_checks(mch_id, self.schedule.lost_check_interval).await?;
        }
        Ok(())
    }

    fn replace(&mut self, lost: BTreeSet<MchId>) {
        for mch_id in lost.difference(&self.lost) {
            tracing::warn!(
                %mch_id,
                "the merchant's notifications do not arrive; its young orders are checked often"
            );
            set_gauge(mch_id, 1.0);
        }
        for mch_id in self.lost.difference(&lost) {
            tracing::info!(%mch_id, "the merchant's notifications arrive again");
            set_gauge(mch_id, 0.0);
        }
        self.lost = lost;
    }
}

fn set_gauge(mch_id: &MchId, value: f64) {
    metrics::gauge!(names::NOTIFICATIONS_LOST, "mch_id" => mch_id.to_string()).set(value);
}
