//! Numbers that the gateway issues.

use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::{format_description, offset};
use wechatpay_v2::{BeijingTime, TransactionId};

/// The source of all of them.
#[derive(Default)]
pub(crate) struct Numbers {
    last: u64,
}

impl Numbers {
    /// Rises with every use and, being the clock in microseconds, across restarts too: a number
    /// that we issue must not come back to a database that has seen it.
    pub(crate) fn serial(&mut self, now: OffsetDateTime) -> u64 {
        let micros = u64::try_from(now.unix_timestamp_nanos() / 1000).unwrap_or(0);
        self.last = micros.max(self.last + 1);
        self.last
    }

    /// `wx`, day and time in Beijing, and 26 characters that never come twice.
    pub(crate) fn prepay_id(&mut self, now: OffsetDateTime) -> String {
        const FORM: &[BorrowedFormatItem<'_>] = format_description!("[day][hour][minute][second]");
        let serial = self.serial(now);
        let local = now.to_offset(offset!(+8));
        let clock = local.format(FORM).unwrap_or_default();
        format!("wx{clock}{:06}{serial:016x}0000", serial % 1_000_000)
    }

    /// 28 digits: `42000`, five of the serial, the day in Beijing, ten of the serial.
    pub(crate) fn transaction_id(&mut self, now: OffsetDateTime) -> TransactionId {
        let serial = self.serial(now) % 1_000_000_000_000_000;
        let day = &BeijingTime::from_instant(now).to_string()[..8];
        let (high, low) = (serial / 10_000_000_000, serial % 10_000_000_000);
        TransactionId::parse(format!("42000{high:05}{day}{low:010}"))
            .expect("28 digits are a transaction_id")
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn numbers_have_wechats_shape_and_never_come_twice() {
        let mut numbers = Numbers::default();
        let now = datetime!(2026-07-21 10:30:00 UTC);
        let first = numbers.transaction_id(now);
        let second = numbers.transaction_id(now);
        assert_ne!(first, second);
        assert_eq!(first.as_str().len(), 28);
        assert!(
            first.as_str().starts_with("42000") && first.as_str()[10..].starts_with("20260721")
        );
        let (first, second) = (numbers.prepay_id(now), numbers.prepay_id(now));
        assert_ne!(first, second);
        assert!(first.starts_with("wx21183000") && first.len() == 36, "{first}");
    }
}
