//! When notifications arrived last.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use time::OffsetDateTime;
use wechatpay_v2::MchId;

use crate::clock;

/// When this worker last settled a payment by a notification, for each merchant. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct NotifiedPayments(Arc<Mutex<HashMap<MchId, OffsetDateTime>>>);

impl NotifiedPayments {
    pub(crate) fn record(&self, mch_id: &MchId) {
        self.times().insert(mch_id.clone(), clock::now());
    }

    pub(crate) fn is_any_after(&self, mch_id: &MchId, at: OffsetDateTime) -> bool {
        self.times().get(mch_id).is_some_and(|notified_at| *notified_at > at)
    }

    fn times(&self) -> MutexGuard<'_, HashMap<MchId, OffsetDateTime>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_notification_of_the_same_merchant_counts() {
        let [one, other] =
            ["1900000109", "1900000110"].map(|it| MchId::parse(it.to_owned()).unwrap());
        let notified = NotifiedPayments::default();
        let at = clock::now();
        let before = at - time::Duration::SECOND;
        assert!(!notified.is_any_after(&one, before));
        notified.record(&one);
        assert!(notified.is_any_after(&one, before));
        assert!(!notified.is_any_after(&one, at + time::Duration::HOUR));
        assert!(!notified.is_any_after(&other, before));
    }
}
