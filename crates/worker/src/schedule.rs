//! When the reconciler checks an order again, and what it does when the order is not paid.
//!
//! Pure: the time and the jitter are passed in. The states are drawn in `crates/orders/README.md`.

mod jitter;
#[cfg(test)]
mod tests;

use std::time::Duration;

use orders::{Order, State};
use time::OffsetDateTime;

pub(crate) use jitter::Jitter;

/// The waits that WeChat's rules impose. Tests shorten them.
#[derive(Clone, Debug)]
pub struct CheckSchedule {
    /// WeChat refuses a closeorder that comes sooner after the creation of the order.
    pub close_age_min: Duration,
    /// A cashier page that was opened before the expiry can still pay for about this long after it.
    pub expiry_grace: Duration,
    /// After closeorder one more query looks for a payment that came before the close.
    pub closed_check_delay: Duration,
    pub payable_checks: PayableChecks,
    /// A question about a payable order causes a check if the last one, or the answer with the
    /// `prepay_id`, is older.
    pub on_demand_pause: Duration,
    /// A notification that has not come this long after its payment is overdue.
    pub lost_after: Duration,
    /// Between checks of the young orders of a merchant whose notifications do not arrive. A
    /// payment is then found within 30 s.
    pub lost_check_interval: Duration,
    /// The first pause after a call without an outcome; it doubles from there.
    pub unknown_retry_first: Duration,
}

/// When a payable order is checked for a payment whose notification is lost.
#[derive(Clone, Debug)]
pub enum PayableChecks {
    /// At these ages of its `prepay_id`, the youngest first, and when it has expired.
    AtAges(Vec<Duration>),
    /// After this pause each time, and when it has expired.
    Every(Duration),
}

/// WeChat advises seven to ten queries in the life of an order. With the one after the expiry, the
/// one before closeorder and the one after it, these make nine. In minutes.
const PAYABLE_CHECK_AGES: [u64; 6] = [1, 3, 8, 20, 45, 90];
/// Between checks of an order that has expired and could not be closed.
const EXPIRED_CHECK_INTERVAL: Duration = Duration::from_secs(5 * 60);

const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

impl Default for CheckSchedule {
    fn default() -> Self {
        Self {
            close_age_min: Duration::from_secs(5 * 60),
            expiry_grace: Duration::from_secs(60),
            closed_check_delay: Duration::from_secs(60),
            payable_checks: PayableChecks::AtAges(PAYABLE_CHECK_AGES.map(minutes).to_vec()),
            on_demand_pause: Duration::from_secs(5),
            lost_after: Duration::from_secs(20),
            lost_check_interval: Duration::from_secs(20),
            unknown_retry_first: Duration::from_secs(5),
        }
    }
}

/// WeChat refuses an order that expires in less than five minutes. It measures when the call
/// arrives, hence one minute more.
pub(crate) const REMAINING_LIFETIME_MIN: time::Duration = time::Duration::minutes(6);

/// No pause after a call without an outcome is longer than this until the retries are used up.
const UNKNOWN_PAUSE_MAX: Duration = Duration::from_secs(5 * 60);
/// After this many calls in a row without an outcome an order is unsettled. With pauses that double
/// to five minutes that is about half an hour.
pub(crate) const UNKNOWN_OUTCOMES_MAX: i32 = 12;
/// The same communication failure this often in a row does not pass by itself.
pub(crate) const SAME_FAILURES_MAX: i32 = 5;
/// Between checks of an unsettled order.
const UNSETTLED_CHECK_INTERVAL: Duration = Duration::from_secs(30 * 60);

/// What to do with an order that WeChat reports as not paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnpaidAction {
    /// Send the first unifiedorder again, byte for byte.
    RepeatUnifiedorder,
    /// Decide to close it.
    RequestClose,
    Close,
    /// Only check again later.
    Wait,
}

#[must_use]
pub(crate) fn unpaid_action(
    order: &Order,
    schedule: &CheckSchedule,
    now: OffsetDateTime,
) -> UnpaidAction {
    match &order.state {
        State::Created if order.time_expire - now >= REMAINING_LIFETIME_MIN => {
            UnpaidAction::RepeatUnifiedorder
        }
        State::Created => UnpaidAction::RequestClose,
        State::Payable { .. } if now >= order.time_expire + schedule.expiry_grace => {
            UnpaidAction::RequestClose
        }
        State::Closing { .. } if now >= order.created_at + schedule.close_age_min => {
            UnpaidAction::Close
        }
        _ => UnpaidAction::Wait,
    }
}

/// When an order is checked again after an answer. `None`: not without a new reason.
#[must_use]
pub(crate) fn next_check(
    order: &Order,
    schedule: &CheckSchedule,
    jitter: Jitter,
    now: OffsetDateTime,
) -> Option<OffsetDateTime> {
    match &order.state {
        State::Created => Some(now + jitter.spread(schedule.unknown_retry_first)),
        State::Payable { issued_at, .. } => {
            Some(next_payable_check(order, *issued_at, schedule, jitter, now))
        }
        State::Closing { .. } => {
            let closable_at = order.created_at + schedule.close_age_min;
            if now < closable_at {
                Some(jitter.delay(closable_at, schedule.close_age_min))
            } else {
                Some(now)
            }
        }
        State::Closed { at } => {
            let check_at = *at + schedule.closed_check_delay;
            (now < check_at).then(|| jitter.delay(check_at, schedule.closed_check_delay))
        }
        State::Failed(_) | State::Paid(_) => None,
    }
}

/// The next of the payable checks, or right after the end of the order when that comes first.
/// A `prepay_id` that was renewed begins anew: its payer has come back.
fn next_payable_check(
    order: &Order,
    issued_at: OffsetDateTime,
    schedule: &CheckSchedule,
    jitter: Jitter,
    now: OffsetDateTime,
) -> OffsetDateTime {
    let end = order.time_expire + schedule.expiry_grace;
    let after_end = jitter.delay(end, schedule.expiry_grace);
    let next = match &schedule.payable_checks {
        PayableChecks::Every(pause) => now + jitter.spread(*pause),
        PayableChecks::AtAges(_) if now >= end => now + jitter.spread(EXPIRED_CHECK_INTERVAL),
        PayableChecks::AtAges(ages) => {
            // A check shortly before an age counts for it: the clock of Postgres, which says what
            // is due, may be ahead of this one.
            let ahead = ages.iter().find(|age| issued_at + age.mul_f64(0.9) > now);
            ahead.map_or(after_end, |age| jitter.delay(issued_at + *age, *age))
        }
    };
    if now < end { next.min(after_end) } else { next }
}

/// When an order is checked again after `count` calls in a row without an outcome.
#[must_use]
pub(crate) fn retry_after_unknown(
    count: i32,
    schedule: &CheckSchedule,
    jitter: Jitter,
    now: OffsetDateTime,
) -> OffsetDateTime {
    if count >= UNKNOWN_OUTCOMES_MAX {
        return now + jitter.spread(UNSETTLED_CHECK_INTERVAL);
    }
    let doublings = u32::try_from(count.clamp(1, 16) - 1).unwrap_or(0);
    let pause = schedule.unknown_retry_first.saturating_mul(1 << doublings);
    now + jitter.spread(pause.min(UNKNOWN_PAUSE_MAX))
}

/// When an order is checked again whose call was deferred for `pause`. The jitter spreads over a
/// second what was deferred together; the merchant's rate limit bounds how many calls that second
/// brings.
#[must_use]
pub(crate) fn retry_after_deferral(
    pause: Duration,
    jitter: Jitter,
    now: OffsetDateTime,
) -> OffsetDateTime {
    jitter.delay(now + pause, Duration::from_secs(10))
}
