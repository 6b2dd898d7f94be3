use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use time::OffsetDateTime;
use wechatpay_v2::MchId;

/// So many per merchant and period, however often it is asked. Merchants are ours, so there are
/// only as many entries as merchants.
#[derive(Debug)]
pub(crate) struct Budget {
    period_s: i64,
    per_period: u32,
    taken: Mutex<HashMap<MchId, (i64, u32)>>,
}

impl Budget {
    pub(crate) fn new(period_s: i64, per_period: u32) -> Self {
        Self { period_s, per_period, taken: Mutex::default() }
    }

    /// Whether there is one more.
    pub(crate) fn has(&self, mch_id: &MchId, at: OffsetDateTime) -> bool {
        let period = at.unix_timestamp().div_euclid(self.period_s);
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.get(mch_id).is_none_or(|(of, count)| *of != period || *count < self.per_period)
    }

    /// Whether there is one more, and takes it.
    pub(crate) fn take(&self, mch_id: &MchId, at: OffsetDateTime) -> bool {
        let period = at.unix_timestamp().div_euclid(self.period_s);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = taken.entry(mch_id.clone()).or_insert((period, 0));
        if entry.0 != period {
            *entry = (period, 0);
        }
        entry.1 = entry.1.saturating_add(1);
        entry.1 <= self.per_period
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn is_bounded_per_merchant_and_period() {
        let budget = Budget::new(3600, 50);
        let (one, two) = (MchId::parse("1").unwrap(), MchId::parse("2").unwrap());
        let at = datetime!(2026-07-21 10:00 UTC);
        assert_eq!((0..200).filter(|_| budget.take(&one, at)).count(), 50);
        assert!(budget.take(&two, at));
        assert!(budget.take(&one, at + time::Duration::hours(1)));
    }
}
