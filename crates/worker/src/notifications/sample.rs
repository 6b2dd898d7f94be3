use std::collections::HashMap;
use std::sync::Mutex;

use time::OffsetDateTime;
use wechatpay_v2::MchId;

/// Enough for a person to see what is wrong, too little to fill a disk: 64 KiB each at most.
const PER_MERCHANT_AND_HOUR: u32 = 50;

/// How many unverified notifications of a merchant are kept in an hour. Merchants are ours, so
/// there are only as many entries as merchants.
#[derive(Debug, Default)]
pub(super) struct Sample(Mutex<HashMap<MchId, (i64, u32)>>);

impl Sample {
    /// Whether one more is kept.
    pub(super) fn takes(&self, mch_id: &MchId, at: OffsetDateTime) -> bool {
        let hour = at.unix_timestamp().div_euclid(3600);
        let mut taken = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let entry = taken.entry(mch_id.clone()).or_insert((hour, 0));
        if entry.0 != hour {
            *entry = (hour, 0);
        }
        entry.1 += 1;
        entry.1 <= PER_MERCHANT_AND_HOUR
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn is_bounded_per_merchant_and_hour() {
        let sample = Sample::default();
        let (one, two) = (MchId::parse("1").unwrap(), MchId::parse("2").unwrap());
        let at = datetime!(2026-07-21 10:00 UTC);
        let taken = (0..200).filter(|_| sample.takes(&one, at)).count();
        assert_eq!(taken, PER_MERCHANT_AND_HOUR as usize);
        assert!(sample.takes(&two, at));
        assert!(sample.takes(&one, at + time::Duration::hours(1)));
    }
}
