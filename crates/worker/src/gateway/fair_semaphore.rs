//! Permits that merchants share, so that one of them cannot take them all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use wechatpay_v2::MchId;

/// So many merchants would have to be in trouble at the same moment to take every permit.
const SHARES_MAX: usize = 4;

/// A bounded number of permits, of which each merchant has a share. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct FairSemaphore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    permits: usize,
    /// Only merchants that have a permit.
    taken: Mutex<HashMap<MchId, usize>>,
    released: Notify,
}

/// One permit, until it is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    semaphore: FairSemaphore,
    mch_id: MchId,
}

impl FairSemaphore {
    pub(crate) fn new(permits: usize) -> Self {
        let (taken, released) = (Mutex::default(), Notify::new());
        Self(Arc::new(Inner { permits, taken, released }))
    }

    /// Takes a permit, if there is one and the merchant's share has it. `merchants`: how many there
    /// are to share with.
    pub(crate) fn try_acquire(&self, mch_id: &MchId, merchants: usize) -> Option<Permit> {
        let mut taken = self.taken();
        if self.left_for(&taken, mch_id, merchants) == 0 {
            return None;
        }
        *taken.entry(mch_id.clone()).or_default() += 1;
        Some(Permit { semaphore: self.clone(), mch_id: mch_id.clone() })
    }

    /// How many permits are free for anybody.
    pub(crate) fn available(&self) -> usize {
        self.0.permits.saturating_sub(self.taken().values().sum())
    }

    /// How many permits this merchant could take now.
    pub(crate) fn available_capacity(&self, mch_id: &MchId, merchants: usize) -> usize {
        self.left_for(&self.taken(), mch_id, merchants)
    }

    /// Returns when a permit has become free since the last time.
    pub(crate) async fn released(&self) {
        self.0.released.notified().await;
    }

    fn left_for(&self, taken: &HashMap<MchId, usize>, mch_id: &MchId, merchants: usize) -> usize {
        let free = self.0.permits.saturating_sub(taken.values().sum());
        let own = taken.get(mch_id).copied().unwrap_or_default();
        share(self.0.permits, merchants).saturating_sub(own).min(free)
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<MchId, usize>> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut taken = self.semaphore.taken();
        if let Some(count) = taken.get_mut(&self.mch_id) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.mch_id);
            }
        }
        drop(taken);
        self.semaphore.0.released.notify_one();
    }
}

/// All permits for a merchant that is alone, an even part for a few, a quarter for many: a single
/// shop's rush is not held up for neighbours that it does not have.
fn share(permits: usize, merchants: usize) -> usize {
    (permits / merchants.clamp(1, SHARES_MAX)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merchant(number: usize) -> MchId {
        MchId::parse(format!("190000010{number}")).unwrap()
    }

    #[test]
    fn a_share_depends_on_how_many_there_are() {
        let semaphore = [1, 2, 3, 4, 5, 1000].map(|merchants| share(256, merchants));
        assert_eq!(semaphore, [256, 128, 85, 64, 64, 64]);
        assert_eq!(share(2, 1000), 1);
    }

    #[test]
    fn nobody_takes_more_than_its_share_or_what_is_not_there() {
        let semaphore = FairSemaphore::new(8);
        let taken = |number, merchants| {
            std::iter::from_fn(|| semaphore.try_acquire(&merchant(number), merchants))
                .collect::<Vec<_>>()
        };
        let two: Vec<_> = (0..4).map(|number| taken(number, 10)).collect();
        assert!(two.iter().all(|permits| permits.len() == 2));
        assert_eq!((semaphore.available(), semaphore.available_capacity(&merchant(4), 10)), (0, 0));
        assert!(semaphore.try_acquire(&merchant(4), 10).is_none());
        drop(two);
        assert_eq!((semaphore.available(), semaphore.available_capacity(&merchant(4), 10)), (8, 2));
        assert_eq!(taken(4, 1).len(), 8);
        assert!(semaphore.taken().is_empty());
    }
}
