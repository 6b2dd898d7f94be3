use orders::testing::{PREPAY, accepted, failure, payment, prepay, request, sample};
use time::macros::datetime;
use wechatpay_v2::SignType;

use super::*;

const NOW: OffsetDateTime = datetime!(2026-07-21 10:30:00 UTC);
const SECOND: time::Duration = time::Duration::SECOND;
/// Neither early nor late, and the two ends of the jitter.
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

fn action_at(order: &Order, now: OffsetDateTime) -> UnpaidAction {
    unpaid_action(order, &CheckSchedule::default(), now)
}

fn check_after(order: &Order, now: OffsetDateTime) -> Option<time::Duration> {
    next_check(order, &CheckSchedule::default(), MIDDLE, now).map(|at| at - now)
}

#[test]
fn created_order_is_replayed_while_wechat_accepts_its_expiry() {
    let order = order(State::Created);
    let end = order.time_expire - time::Duration::minutes(6);
    assert_eq!(action_at(&order, NOW), UnpaidAction::RepeatUnifiedorder);
    assert_eq!(action_at(&order, end), UnpaidAction::RepeatUnifiedorder);
    assert_eq!(action_at(&order, end + time::Duration::NANOSECOND), UnpaidAction::RequestClose);
    assert_eq!(
        action_at(&order, order.time_expire + time::Duration::days(1)),
        UnpaidAction::RequestClose
    );
    assert_eq!(check_after(&order, NOW), Some(5 * SECOND));
}

#[test]
fn payable_order_is_closed_after_its_expiry_and_the_grace() {
    let order = order(payable());
    let end = order.time_expire + time::Duration::minutes(1);
    assert_eq!(action_at(&order, NOW), UnpaidAction::Wait);
    assert_eq!(action_at(&order, order.time_expire), UnpaidAction::Wait);
    assert_eq!(action_at(&order, end - time::Duration::NANOSECOND), UnpaidAction::Wait);
    assert_eq!(action_at(&order, end), UnpaidAction::RequestClose);
}

#[test]
fn payable_order_is_checked_at_ages_and_after_its_end() {
    let order = order(payable());
    let issued_at = NOW - 9 * SECOND;
    let minutes = time::Duration::minutes;
    let check_at = |now| next_check(&order, &CheckSchedule::default(), EARLIEST, now).unwrap();
    let mut at = issued_at;
    for age in [1, 3, 8, 20, 45, 90] {
        at = check_at(at);
        assert_eq!(at, issued_at + minutes(age));
    }
    let end = order.time_expire + minutes(1);
    assert_eq!(check_at(at), end);
    assert_eq!(check_at(end), end + 270 * SECOND, "five minutes, less a tenth");
    // A check counts for an age that is near, and leaves out the ages that have passed.
    assert_eq!(check_at(issued_at + minutes(19)), issued_at + minutes(45));
    assert_eq!(check_at(issued_at + minutes(21)), issued_at + minutes(45));
}

#[test]
fn unpaid_order_is_queried_nine_times_in_its_life() {
    let schedule = CheckSchedule::default();
    for jitter in [EARLIEST, MIDDLE, LATEST] {
        let mut order = order(payable());
        let mut now = NOW;
        let mut queries = 0;
        while let Some(at) = next_check(&order, &schedule, jitter, now) {
            now = at;
            queries += 1;
            match unpaid_action(&order, &schedule, now) {
                UnpaidAction::RequestClose => order.state = State::Closing { since: now },
                UnpaidAction::Close => order.state = State::Closed { at: now },
                UnpaidAction::Wait => {}
                UnpaidAction::RepeatUnifiedorder => panic!("it was answered"),
            }
        }
        assert_eq!(order.state.name(), orders::StateName::Closed);
        assert_eq!(queries, 9);
    }
}

#[test]
fn payable_order_can_be_checked_at_even_pauses() {
    let order = order(payable());
    let payable_checks = PayableChecks::Every(Duration::from_secs(20));
    let schedule = CheckSchedule { payable_checks, ..CheckSchedule::default() };
    let after = |now| next_check(&order, &schedule, MIDDLE, now).unwrap() - now;
    assert_eq!(after(NOW), 20 * SECOND);
    let end = order.time_expire + time::Duration::minutes(1);
    assert_eq!(after(end - SECOND), 2 * SECOND, "one second after its end");
    assert_eq!(after(end), 20 * SECOND);
}

#[test]
fn closing_order_waits_for_the_age_that_wechat_wants() {
    let order = order(closing());
    let age = order.created_at + time::Duration::minutes(5);
    assert_eq!(action_at(&order, age - time::Duration::NANOSECOND), UnpaidAction::Wait);
    assert_eq!(action_at(&order, age), UnpaidAction::Close);
    let check_at = |now| next_check(&order, &CheckSchedule::default(), EARLIEST, now);
    assert_eq!(check_at(NOW), Some(age));
    assert_eq!(check_at(age), Some(age));
    assert_eq!(check_at(age + SECOND), Some(age + SECOND));
}

#[test]
fn closed_order_is_checked_once_more() {
    let order = order(State::Closed { at: NOW });
    let last = NOW + time::Duration::minutes(1);
    let check_at = |now| next_check(&order, &CheckSchedule::default(), EARLIEST, now);
    assert_eq!(check_at(NOW), Some(last));
    assert_eq!(check_at(last - time::Duration::NANOSECOND), Some(last));
    assert_eq!(check_at(last), None);
    assert_eq!(action_at(&order, last), UnpaidAction::Wait);
}

#[test]
fn failed_or_paid_order_is_not_checked() {
    for state in [failed(), paid()] {
        let order = order(state);
        for now in [NOW, order.time_expire, order.time_expire + time::Duration::days(1)] {
            assert_eq!(action_at(&order, now), UnpaidAction::Wait);
            assert_eq!(check_after(&order, now), None);
        }
    }
}

#[test]
fn pauses_without_an_outcome_double_until_retries_are_used_up() {
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
    // Counts that no row has.
    for count in [0, -1, i32::MIN] {
        assert_eq!(
            retry_after_unknown(count, &CheckSchedule::default(), MIDDLE, NOW),
            NOW + 5 * SECOND
        );
    }
}

#[test]
fn longest_first_retry_does_not_overflow() {
    let endless = CheckSchedule { unknown_retry_first: Duration::MAX, ..CheckSchedule::default() };
    assert_eq!(retry_after_unknown(11, &endless, MIDDLE, NOW), NOW + 300 * SECOND);
}

#[test]
fn jitter_moves_a_pause_by_a_tenth_and_an_end_never_forward() {
    let schedule = CheckSchedule::default();
    let check_at = |order: &Order, jitter| {
        next_check(order, &schedule, jitter, NOW).expect("a next check") - NOW
    };
    let payable = order(payable());
    assert_eq!(check_at(&payable, EARLIEST), 51 * SECOND);
    assert_eq!(check_at(&payable, LATEST), 53 * SECOND);
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
fn deferred_order_comes_back_within_a_second_of_its_pause() {
    let pause = Duration::from_secs(60);
    assert_eq!(retry_after_deferral(pause, EARLIEST, NOW), NOW + 60 * SECOND);
    assert_eq!(retry_after_deferral(pause, LATEST, NOW), NOW + 61 * SECOND);
}

#[test]
fn jitter_is_drawn_from_its_whole_range() {
    let drawn: Vec<f64> = (0..1000).map(|_| Jitter::draw().0).collect();
    assert!(drawn.iter().all(|share| (0.0..1.0).contains(share)));
    for tenth in 0..10 {
        let low = f64::from(tenth) / 10.0;
        assert!(drawn.iter().any(|share| (low..low + 0.1).contains(share)), "{tenth}");
    }
}
