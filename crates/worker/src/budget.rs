use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use time::OffsetDateTime;
use wechatpay_v2::MchId;

/// Allows so many per merchant and period. The periods are fixed, so that a sample of 50 an hour
/// starts anew with each hour.
#[derive(Debug)]
pub(crate) struct Budget {
    period_s: i64,
    per_period: u32,
    /// Only configured merchants are asked for, which bounds it.
    used: Mutex<HashMap<MchId, Used>>,
}

#[derive(Debug, Default)]
struct Used {
    period: i64,
    count: u32,
}

impl Budget {
    pub(crate) fn new(period_s: i64, per_period: u32) -> Self {
        Self { period_s, per_period, used: Mutex::default() }
    }

    /// Whether [`Budget::take`] would succeed.
    pub(crate) fn has(&self, mch_id: &MchId, at: OffsetDateTime) -> bool {
        let period = self.period(at);
        let used = self.used();
        used.get(mch_id).is_none_or(|used| used.period != period || used.count < self.per_period)
    }

    pub(crate) fn take(&self, mch_id: &MchId, at: OffsetDateTime) -> bool {
        let period = self.period(at);
        let mut used = self.used();
        let used = used.entry(mch_id.clone()).or_default();
        if used.period != period {
            *used = Used { period, count: 0 };
        }
        used.count = used.count.saturating_add(1);
        used.count <= self.per_period
    }

    fn period(&self, at: OffsetDateTime) -> i64 {
        at.unix_timestamp().div_euclid(self.period_s)
    }

    fn used(&self) -> MutexGuard<'_, HashMap<MchId, Used>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn budget_is_bounded_per_merchant_and_period() {
        let budget = Budget::new(3600, 50);
        let one = MchId::parse("1").unwrap();
        let two = MchId::parse("2").unwrap();
        let at = datetime!(2026-07-21 10:00 UTC);
        assert_eq!((0..200).filter(|_| budget.take(&one, at)).count(), 50);
        assert!(!budget.has(&one, at));
        assert!(budget.take(&two, at));
        assert!(budget.take(&one, at + time::Duration::hours(1)));
    }
}
