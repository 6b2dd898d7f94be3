//! Places that merchants share, so that one of them cannot take them all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use wechatpay_v2::MchId;

/// So many merchants would have to be in trouble at the same moment to take every place.
const SHARERS_MAX: usize = 4;

/// A bounded number of places, of which each merchant has a share. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Shares(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    places: usize,
    /// Only merchants that have a place.
    taken: Mutex<HashMap<MchId, usize>>,
    freed: Notify,
}

/// One place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    shares: Shares,
    mch_id: MchId,
}

impl Shares {
    pub(crate) fn new(places: usize) -> Self {
        let (taken, freed) = (Mutex::default(), Notify::new());
        Self(Arc::new(Inner { places, taken, freed }))
    }

    /// Takes a place, if there is one and the merchant's share has it. `merchants`: how many there
    /// are to share with.
    pub(crate) fn take(&self, mch_id: &MchId, merchants: usize) -> Option<Place> {
        let mut taken = self.taken();
        if self.left(&taken, mch_id, merchants) == 0 {
            return None;
        }
        *taken.entry(mch_id.clone()).or_default() += 1;
        Some(Place { shares: self.clone(), mch_id: mch_id.clone() })
    }

    /// How many places are free for anybody.
    pub(crate) fn free(&self) -> usize {
        self.0.places.saturating_sub(self.taken().values().sum())
    }

    /// How many places this merchant could take now.
    pub(crate) fn room(&self, mch_id: &MchId, merchants: usize) -> usize {
        self.left(&self.taken(), mch_id, merchants)
    }

    /// Returns when a place has become free since the last time.
    pub(crate) async fn freed(&self) {
        self.0.freed.notified().await;
    }

    fn left(&self, taken: &HashMap<MchId, usize>, mch_id: &MchId, merchants: usize) -> usize {
        let free = self.0.places.saturating_sub(taken.values().sum());
        let own = taken.get(mch_id).copied().unwrap_or_default();
        share(self.0.places, merchants).saturating_sub(own).min(free)
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<MchId, usize>> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.shares.taken();
        if let Some(count) = taken.get_mut(&self.mch_id) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.mch_id);
            }
        }
        drop(taken);
        self.shares.0.freed.notify_one();
    }
}

/// All places for a merchant that is alone, an even part for a few, a quarter for many: a single
/// shop's rush is not held up for neighbours that it does not have.
fn share(places: usize, merchants: usize) -> usize {
    (places / merchants.clamp(1, SHARERS_MAX)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merchant(number: usize) -> MchId {
        MchId::parse(format!("190000010{number}")).unwrap()
    }

    #[test]
    fn a_share_depends_on_how_many_there_are() {
        let shares = [1, 2, 3, 4, 5, 1000].map(|merchants| share(256, merchants));
        assert_eq!(shares, [256, 128, 85, 64, 64, 64]);
        assert_eq!(share(2, 1000), 1);
    }

    #[test]
    fn nobody_takes_more_than_its_share_or_what_is_not_there() {
        let shares = Shares::new(8);
        let taken = |number, merchants| {
            std::iter::from_fn(|| shares.take(&merchant(number), merchants)).collect::<Vec<_>>()
        };
        let two: Vec<_> = (0..4).map(|number| taken(number, 10)).collect();
        assert!(two.iter().all(|places| places.len() == 2));
        assert_eq!((shares.free(), shares.room(&merchant(4), 10)), (0, 0));
        assert!(shares.take(&merchant(4), 10).is_none());
        drop(two);
        assert_eq!((shares.free(), shares.room(&merchant(4), 10)), (8, 2));
        assert_eq!(taken(4, 1).len(), 8);
        assert!(shares.taken().is_empty());
    }
}
