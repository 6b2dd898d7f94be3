//! When an order is looked at again, and what is done with it then: pure.

use std::time::Duration;

use orders::{Order, State};
use time::OffsetDateTime;

/// The waits that WeChat's rules impose. Tests shorten them.
#[derive(Clone, Debug)]
pub struct CheckSchedule {
    /// WeChat wants this between the creation of an order and its closeorder (reference 2.4).
    pub close_age_min: Duration,
    /// A cashier page that was opened before the expiry can still pay for about so long after it
    /// (reference 4.1).
    pub expiry_grace: Duration,
    /// After closeorder one more query looks for a payment that was faster.
    pub closed_check_delay: Duration,
    /// Between looks at a payable order in its first ten minutes; a payment whose notification is
    /// lost is found within 30 s.
    pub payable_check_interval: Duration,
    /// The first pause after a call without an outcome; it doubles from there.
    pub unknown_retry_first: Duration,
}

impl Default for CheckSchedule {
    fn default() -> Self {
        Self {
            close_age_min: Duration::from_secs(5 * 60),
            expiry_grace: Duration::from_secs(60),
            closed_check_delay: Duration::from_secs(60),
            payable_check_interval: Duration::from_secs(20),
            unknown_retry_first: Duration::from_secs(5),
        }
    }
}

/// WeChat refuses less than five minutes to the expiry (reference 4.3); measured when the call
/// arrives, so one more is kept.
pub(crate) const REMAINING_LIFETIME_MIN: time::Duration = time::Duration::minutes(6);

/// Without an outcome, no pause is longer than this until the budget is spent.
const UNKNOWN_PAUSE_MAX: Duration = Duration::from_secs(5 * 60);
/// After so many calls without an outcome in a row an order is unsettled. With pauses that double
/// to five minutes that is about half an hour.
pub(crate) const UNKNOWN_OUTCOMES_MAX: i32 = 12;
/// The same communication failure so often in a row is nothing that passes.
pub(crate) const SAME_FAILURES_MAX: i32 = 5;
/// How often an unsettled order is looked at.
const UNSETTLED_CHECK_INTERVAL: Duration = Duration::from_secs(30 * 60);

/// A share of chance in every wait, so that orders that were accepted together, or that waited for
/// the same outage, do not all come due in the same instant again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Jitter(f64);

impl Jitter {
    /// How far a pause is drawn out or cut short at most. Two seconds of twenty leave a lost payment
    /// well within the 30 s in which it must be found.
    const SHARE: f64 = 0.1;
    /// Enough to spread what ends in the same second, and nobody notices it.
    const AFTER_MAX: Duration = Duration::from_secs(2);

    pub(crate) fn draw() -> Self {
        Self(fastrand::f64())
    }

    /// A pause of nine to eleven tenths.
    fn around(self, pause: Duration) -> Duration {
        pause.mul_f64(1.0 - Self::SHARE + 2.0 * Self::SHARE * self.0)
    }

    /// A little after an instant before which there is nothing to do, and which many orders can
    /// share: up to a tenth of the `pause` that led there, and never more than two seconds.
    fn after(self, instant: OffsetDateTime, pause: Duration) -> OffsetDateTime {
        instant + pause.mul_f64(Self::SHARE).min(Self::AFTER_MAX).mul_f64(self.0)
    }
}

/// What to do with an order of which WeChat says that it is not paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NextAction {
    /// Send the first unifiedorder again, byte for byte.
    Replay,
    /// Decide to close it.
    RequestClose,
    /// Send closeorder.
    Close,
    /// Nothing but check_at again later.
    Wait,
}

/// What an order that is not paid needs now.
#[must_use]
pub(crate) fn next_action(
    order: &Order,
    schedule: &CheckSchedule,
    now: OffsetDateTime,
) -> NextAction {
    match &order.state {
        State::Created if order.time_expire - now >= REMAINING_LIFETIME_MIN => NextAction::Replay,
        State::Created => NextAction::RequestClose,
        State::Payable { .. } if now >= order.time_expire + schedule.expiry_grace => {
            NextAction::RequestClose
        }
        State::Closing { .. } if now >= order.created_at + schedule.close_age_min => {
            NextAction::Close
        }
        _ => NextAction::Wait,
    }
}

/// When an order is looked at again after an answer. `None`: never by itself.
#[must_use]
pub(crate) fn next_check(
    order: &Order,
    schedule: &CheckSchedule,
    jitter: Jitter,
    now: OffsetDateTime,
) -> Option<OffsetDateTime> {
    let age = now - order.created_at;
    match &order.state {
        State::Created => Some(now + jitter.around(schedule.unknown_retry_first)),
        State::Payable { .. } => {
            let pause = if age < time::Duration::minutes(10) {
                schedule.payable_check_interval
            } else if age < time::Duration::hours(1) {
                schedule.payable_check_interval * 3
            } else {
                schedule.payable_check_interval * 15
            };
            let next = now + jitter.around(pause);
            let end = order.time_expire + schedule.expiry_grace;
            let last = jitter.after(end, schedule.expiry_grace);
            Some(if now < end { next.min(last) } else { next })
        }
        State::Closing { .. } => {
            let from = order.created_at + schedule.close_age_min;
            Some(if now < from { jitter.after(from, schedule.close_age_min) } else { now })
        }
        State::Closed { at } => {
            let check_at = *at + schedule.closed_check_delay;
            (now < check_at).then(|| jitter.after(check_at, schedule.closed_check_delay))
        }
        State::Failed(_) | State::Paid(_) => None,
    }
}

/// When an order is looked at again after `count` calls in a row without an outcome.
#[must_use]
pub(crate) fn retry_after_unknown(
    count: i32,
    schedule: &CheckSchedule,
    jitter: Jitter,
    now: OffsetDateTime,
) -> OffsetDateTime {
    if count >= UNKNOWN_OUTCOMES_MAX {
        return now + jitter.around(UNSETTLED_CHECK_INTERVAL);
    }
    let doublings = u32::try_from(count.clamp(1, 16) - 1).unwrap_or(0);
    let pause = schedule.unknown_retry_first.saturating_mul(1 << doublings);
    now + jitter.around(pause.min(UNKNOWN_PAUSE_MAX))
}

/// When an order is looked at again whose call was put off for `pause`. Chance spreads over a second
/// what was put off together; how many are looked at in one is bounded elsewhere.
#[must_use]
pub(crate) fn retry_after_deferral(
    pause: Duration,
    jitter: Jitter,
    now: OffsetDateTime,
) -> OffsetDateTime {
    jitter.after(now + pause, Duration::from_secs(10))
}

#[cfg(test)]
mod tests {
    use orders::testing::{PREPAY, accepted, failure, payment, prepay, request, sample};
    use time::macros::datetime;
    use wechatpay_v2::SignType;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-07-21 10:30:00 UTC);
    const SECOND: time::Duration = time::Duration::SECOND;
    /// Neither early nor late, and the two ends that chance can reach.
    const MIDDLE: Jitter = Jitter(0.5);
    const EARLIEST: Jitter = Jitter(0.0);
    const LATEST: Jitter = Jitter(1.0);

    /// Accepted ten seconds before `NOW`, to expire two hours after it.
    fn order(state: State) -> Order {
        let expire = NOW + time::Duration::hours(2);
        let accepted_at = NOW - 10 * SECOND;
        let (order, _) = Order::accept(request(&sample()), expire, SignType::Md5, accepted_at);
        Order { state, ..order }
    }

    fn payable() -> State {
        State::Payable { prepay: prepay(PREPAY), issued_at: NOW - 9 * SECOND }
    }

    fn closing() -> State {
        State::Closing { since: NOW - SECOND }
    }

    fn failed() -> State {
        State::Failed(failure())
    }

    fn paid() -> State {
        State::Paid(Box::new(payment(&accepted(&sample()))))
    }

    fn action_at(order: &Order, now: OffsetDateTime) -> NextAction {
        next_action(order, &CheckSchedule::default(), now)
    }

    fn check_after(order: &Order, now: OffsetDateTime) -> Option<time::Duration> {
        next_check(order, &CheckSchedule::default(), MIDDLE, now).map(|at| at - now)
    }

    #[test]
    fn an_unknown_outcome_is_replayed_while_wechat_takes_the_expiry() {
        let order = order(State::Created);
        let end = order.time_expire - time::Duration::minutes(6);
        assert_eq!(action_at(&order, NOW), NextAction::Replay);
        assert_eq!(action_at(&order, end), NextAction::Replay);
        assert_eq!(action_at(&order, end + time::Duration::NANOSECOND), NextAction::RequestClose);
        assert_eq!(
            action_at(&order, order.time_expire + time::Duration::days(1)),
            NextAction::RequestClose
        );
        assert_eq!(check_after(&order, NOW), Some(5 * SECOND));
    }

    #[test]
    fn a_payable_order_ends_with_its_expiry_and_the_grace() {
        let order = order(payable());
        let end = order.time_expire + time::Duration::minutes(1);
        assert_eq!(action_at(&order, NOW), NextAction::Wait);
        assert_eq!(action_at(&order, order.time_expire), NextAction::Wait);
        assert_eq!(action_at(&order, end - time::Duration::NANOSECOND), NextAction::Wait);
        assert_eq!(action_at(&order, end), NextAction::RequestClose);
    }

    #[test]
    fn a_payable_order_is_looked_at_less_often_as_it_ages_and_right_at_its_end() {
        let order = order(payable());
        let check_at = |now| check_after(&order, now);
        let (ten_minutes, hour) = (time::Duration::minutes(10), time::Duration::hours(1));
        let born = order.created_at;
        assert_eq!(check_at(born), Some(20 * SECOND));
        assert_eq!(check_at(born + ten_minutes - time::Duration::NANOSECOND), Some(20 * SECOND));
        assert_eq!(check_at(born + ten_minutes), Some(60 * SECOND));
        assert_eq!(check_at(born + hour - time::Duration::NANOSECOND), Some(60 * SECOND));
        assert_eq!(check_at(born + hour), Some(300 * SECOND));

        let end = order.time_expire + time::Duration::minutes(1);
        assert_eq!(check_at(end - 301 * SECOND), Some(300 * SECOND));
        assert_eq!(check_at(end - 298 * SECOND), Some(299 * SECOND), "one second after its end");
        assert_eq!(check_at(end - SECOND), Some(2 * SECOND));
        assert_eq!(check_at(end), Some(300 * SECOND));
    }

    #[test]
    fn closing_waits_for_the_age_of_the_order() {
        let order = order(closing());
        let age = order.created_at + time::Duration::minutes(5);
        assert_eq!(action_at(&order, age - time::Duration::NANOSECOND), NextAction::Wait);
        assert_eq!(action_at(&order, age), NextAction::Close);
        let check_at = |now| next_check(&order, &CheckSchedule::default(), EARLIEST, now);
        assert_eq!(check_at(NOW), Some(age));
        assert_eq!(check_at(age), Some(age));
        assert_eq!(check_at(age + SECOND), Some(age + SECOND));
    }

    #[test]
    fn a_closed_order_is_looked_at_once_more() {
        let order = order(State::Closed { at: NOW });
        let last = NOW + time::Duration::minutes(1);
        let check_at = |now| next_check(&order, &CheckSchedule::default(), EARLIEST, now);
        assert_eq!(check_at(NOW), Some(last));
        assert_eq!(check_at(last - time::Duration::NANOSECOND), Some(last));
        assert_eq!(check_at(last), None);
        assert_eq!(action_at(&order, last), NextAction::Wait);
    }

    #[test]
    fn what_is_settled_is_left_alone() {
        for state in [failed(), paid()] {
            let order = order(state);
            for now in [NOW, order.time_expire, order.time_expire + time::Duration::days(1)] {
                assert_eq!(action_at(&order, now), NextAction::Wait);
                assert_eq!(check_after(&order, now), None);
            }
        }
    }

    #[test]
    fn pauses_without_an_outcome_double_until_the_budget_is_spent() {
        let pauses: Vec<i64> = (1..=UNKNOWN_OUTCOMES_MAX)
            .map(|count| {
                (retry_after_unknown(count, &CheckSchedule::default(), MIDDLE, NOW) - NOW)
                    .whole_seconds()
            })
            .collect();
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 300, 300, 300, 300, 300, 1800]);
        let half_an_hour: i64 = pauses[..11].iter().sum();
        assert!((1500..=2100).contains(&half_an_hour), "about half an hour: {half_an_hour}");
        assert_eq!(
            retry_after_unknown(i32::MAX, &CheckSchedule::default(), MIDDLE, NOW),
            NOW + 1800 * SECOND
        );
        // Never counted, and yet asked for.
        for count in [0, -1, i32::MIN] {
            assert_eq!(
                retry_after_unknown(count, &CheckSchedule::default(), MIDDLE, NOW),
                NOW + 5 * SECOND
            );
        }
    }

    #[test]
    fn no_schedule_is_long_enough_to_overflow() {
        let endless =
            CheckSchedule { unknown_retry_first: Duration::MAX, ..CheckSchedule::default() };
        assert_eq!(retry_after_unknown(11, &endless, MIDDLE, NOW), NOW + 300 * SECOND);
    }

    #[test]
    fn chance_moves_a_pause_by_a_tenth_at_most_and_an_end_never_forward() {
        let schedule = CheckSchedule::default();
        let check_at = |order: &Order, jitter| {
            next_check(order, &schedule, jitter, NOW).expect("a check_at") - NOW
        };
        let payable = order(payable());
        assert_eq!(check_at(&payable, EARLIEST), 18 * SECOND);
        assert_eq!(check_at(&payable, LATEST), 22 * SECOND);
        let created = order(State::Created);
        assert_eq!(check_at(&created, EARLIEST), 4500 * time::Duration::MILLISECOND);
        assert_eq!(check_at(&created, LATEST), 5500 * time::Duration::MILLISECOND);
        for (state, end) in [(closing(), 290), (State::Closed { at: NOW }, 60)] {
            let order = order(state);
            assert_eq!(check_at(&order, EARLIEST), end * SECOND);
            assert_eq!(check_at(&order, LATEST), (end + 2) * SECOND);
        }
        let unknown = |count, jitter| retry_after_unknown(count, &schedule, jitter, NOW) - NOW;
        assert_eq!(unknown(3, EARLIEST), 18 * SECOND);
        assert_eq!(unknown(3, LATEST), 22 * SECOND);
        assert_eq!(unknown(UNKNOWN_OUTCOMES_MAX, EARLIEST), 1620 * SECOND);
        assert_eq!(unknown(UNKNOWN_OUTCOMES_MAX, LATEST), 1980 * SECOND);
    }

    #[test]
    fn what_is_put_off_comes_back_within_a_second_of_its_pause() {
        let pause = Duration::from_secs(60);
        assert_eq!(retry_after_deferral(pause, EARLIEST, NOW), NOW + 60 * SECOND);
        assert_eq!(retry_after_deferral(pause, LATEST, NOW), NOW + 61 * SECOND);
    }

    #[test]
    fn chance_is_drawn_from_the_whole_of_its_range() {
        let drawn: Vec<f64> = (0..1000).map(|_| Jitter::draw().0).collect();
        assert!(drawn.iter().all(|share| (0.0..1.0).contains(share)));
        for tenth in 0..10 {
            let low = f64::from(tenth) / 10.0;
            assert!(drawn.iter().any(|share| (low..low + 0.1).contains(share)), "{tenth}");
        }
    }
}
