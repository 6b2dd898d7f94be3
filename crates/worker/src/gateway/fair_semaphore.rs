use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use wechatpay_v2::MchId;

use crate::merchants::Merchants;

/// Only this many merchants in trouble at the same time could take every permit.
const SHARES_MAX: usize = 4;

/// A bounded number of permits, of which each merchant gets a share, so that one merchant cannot
/// take them all. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct FairSemaphore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    merchants: Merchants,
    permits: usize,
    /// Only merchants that have a permit.
    acquired: Mutex<HashMap<MchId, usize>>,
    released: Notify,
}

/// Released when it is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    semaphore: FairSemaphore,
    mch_id: MchId,
}

impl FairSemaphore {
    pub(crate) fn new(permits: usize, merchants: Merchants) -> Self {
        Self(Arc::new(Inner {
            merchants,
            permits,
            acquired: Mutex::default(),
            released: Notify::new(),
        }))
    }

    /// `None` when no permit is left, or the merchant has its share.
    pub(crate) fn try_acquire(&self, mch_id: &MchId) -> Option<Permit> {
        let mut acquired = self.acquired();
        if self.available_of(&acquired, mch_id) == 0 {
            return None;
        }
        *acquired.entry(mch_id.clone()).or_default() += 1;
        Some(Permit { semaphore: self.clone(), mch_id: mch_id.clone() })
    }

    /// The permits that are left for all merchants together.
    pub(crate) fn available_permits(&self) -> usize {
        self.0.permits.saturating_sub(self.acquired().values().sum())
    }

    /// The permits that this merchant could take now.
    pub(crate) fn available_capacity(&self, mch_id: &MchId) -> usize {
        self.available_of(&self.acquired(), mch_id)
    }

    /// Returns when a permit has been released since the last time.
    pub(crate) async fn released(&self) {
        self.0.released.notified().await;
    }

    fn available_of(&self, acquired: &HashMap<MchId, usize>, mch_id: &MchId) -> usize {
        let available = self.0.permits.saturating_sub(acquired.values().sum());
        let own = acquired.get(mch_id).copied().unwrap_or_default();
        let share = share(self.0.permits, self.0.merchants.all().len());
        share.saturating_sub(own).min(available)
    }

    fn acquired(&self) -> MutexGuard<'_, HashMap<MchId, usize>> {
        self.0.acquired.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut acquired = self.semaphore.acquired();
        if let Some(count) = acquired.get_mut(&self.mch_id) {
            *count -= 1;
            if *count == 0 {
                acquired.remove(&self.mch_id);
            }
        }
        drop(acquired);
        self.semaphore.0.released.notify_one();
    }
}

/// All permits for a merchant that is alone, an equal share for a few, a quarter for many: a single
/// shop's rush does not wait for neighbours that do not exist.
pub(super) fn share(permits: usize, merchants: usize) -> usize {
    (permits / merchants.clamp(1, SHARES_MAX)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merchants::testing::merchant;

    fn merchants(count: usize) -> Merchants {
        let numbers = (0..count).map(|number| merchant(&number.to_string(), "a", 1));
        Merchants::of(numbers.collect()).unwrap()
    }

    #[test]
    fn share_depends_on_the_number_of_merchants() {
        let shares = [1, 2, 3, 4, 5, 1000].map(|merchants| share(256, merchants));
        assert_eq!(shares, [256, 128, 85, 64, 64, 64]);
        assert_eq!(share(2, 1000), 1);
    }

    #[test]
    fn merchant_gets_its_share_and_no_more_than_is_left() {
        let all = merchants(10);
        let semaphore = FairSemaphore::new(8, all.clone());
        let mch_ids: [MchId; 5] =
            ["0", "1", "2", "3", "4"].map(|number| MchId::parse(number).unwrap());
        let acquire_all = |mch_id: &MchId| -> Vec<Permit> {
            std::iter::from_fn(|| semaphore.try_acquire(mch_id)).collect()
        };
        let permits: Vec<_> = mch_ids[..4].iter().map(acquire_all).collect();
        assert!(permits.iter().all(|permits| permits.len() == 2));
        assert_eq!(semaphore.available_permits(), 0);
        assert_eq!(semaphore.available_capacity(&mch_ids[4]), 0);
        assert!(semaphore.try_acquire(&mch_ids[4]).is_none());

        drop(permits);
        assert_eq!(semaphore.available_permits(), 8);
        assert_eq!(semaphore.available_capacity(&mch_ids[4]), 2);

        all.replace(&merchants(1));
        assert_eq!(acquire_all(&mch_ids[4]).len(), 8, "a merchant that is alone takes all");
        assert!(semaphore.acquired().is_empty());
    }
}
