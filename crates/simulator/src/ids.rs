//! The ids that the gateway issues.

use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::{format_description, offset};
use wechatpay_v2::{BeijingTime, TransactionId};

#[derive(Default)]
pub(crate) struct IdGenerator {
    last: u64,
}

impl IdGenerator {
    /// Rises with every use. It starts from the clock in microseconds so that it also rises across
    /// restarts: an id must never repeat for a database that outlives the simulator.
    pub(crate) fn serial(&mut self, now: OffsetDateTime) -> u64 {
        let micros = u64::try_from(now.unix_timestamp_nanos() / 1000).unwrap_or(0);
        self.last = micros.max(self.last + 1);
        self.last
    }

    /// `wx`, day and time in Beijing, and 26 characters that make it unique.
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
        let high = serial / 10_000_000_000;
        let low = serial % 10_000_000_000;
        TransactionId::parse(format!("42000{high:05}{day}{low:010}"))
            .expect("28 digits are a transaction_id")
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn ids_have_wechats_form_and_never_repeat() {
        let mut ids = IdGenerator::default();
        let now = datetime!(2026-07-21 10:30:00 UTC);
        let first = ids.transaction_id(now);
        let second = ids.transaction_id(now);
        assert_ne!(first, second);
        let text = first.as_str();
        assert_eq!(text.len(), 28);
        assert!(text.starts_with("42000") && text[10..].starts_with("20260721"));
        let first = ids.prepay_id(now);
        let second = ids.prepay_id(now);
        assert_ne!(first, second);
        assert!(first.starts_with("wx21183000") && first.len() == 36, "{first}");
    }
}
