use std::time::Duration;

use broker::Message;
use bytes::Bytes;
use tokio::time::Instant;
use uuid::Uuid;
use wechatpay_v2::MchId;

use super::lane::{Path, Source, Waiting};
use super::lanes::{Checked, Lanes, Next};
use super::limits::{
    COMMON_CHANNELS, LAGGING_AFTER, PROBE_HOLDS, REPLAYS_UNCONFIRMED_MAX, SWEPT_LOW,
    UNCONFIRMED_MAX, WINDOW, WRITTEN_WAITING_MAX, WRITTEN_WAITING_MAX_OF_ALL,
};

const LEASE: Duration = Duration::from_secs(5);
/// Unconfirmed events of one merchant on the common channels.
const ON_COMMON_MAX: usize = COMMON_CHANNELS * UNCONFIRMED_MAX;

fn merchant(number: usize) -> MchId {
    MchId::parse(format!("{}", 1_900_000_000 + number)).unwrap()
}

fn push(lanes: &mut Lanes, mch_id: &MchId, source: Source, now: Instant) -> Uuid {
    let id = Uuid::now_v7();
    let message = Message::event(id, "order.paid".to_owned(), mch_id.as_str(), Bytes::new());
    lanes.push(mch_id, source, Waiting { message, lease_until: now + LEASE });
    id
}

fn push_many(lanes: &mut Lanes, mch_id: &MchId, source: Source, count: usize, now: Instant) {
    for _ in 0..count {
        push(lanes, mch_id, source, now);
    }
}

/// Everything that can be published now.
fn take_all(lanes: &mut Lanes, now: Instant) -> Vec<Next> {
    std::iter::from_fn(|| lanes.next(now)).collect()
}

fn ids(taken: &[Next]) -> Vec<Uuid> {
    taken.iter().map(|next| next.event.message.message_id).collect()
}

fn confirm(lanes: &mut Lanes, taken: &[Next], now: Instant) {
    for next in taken {
        lanes.resolve(&next.mch_id, next.event.message.message_id, true, now);
    }
}

/// Lanes that know the merchants 0 to 99 from events confirmed on every common channel.
fn known_lanes(now: Instant) -> Lanes {
    let mut lanes = Lanes::default();
    for mch_id in (0..100).map(merchant) {
        push(&mut lanes, &mch_id, Source::Written, now);
    }
    let first = take_all(&mut lanes, now);
    assert!(first.iter().all(|next| next.path == Path::Own));
    confirm(&mut lanes, &first, now);
    for mch_id in (0..100).map(merchant) {
        push_many(&mut lanes, &mch_id, Source::Written, COMMON_CHANNELS, now);
    }
    let taken = take_all(&mut lanes, now);
    assert!(taken.iter().all(is_on_common));
    confirm(&mut lanes, &taken, now);
    lanes
}

fn is_on_common(next: &Next) -> bool {
    matches!(next.path, Path::Common(_))
}

#[test]
fn first_event_of_merchant_goes_out_alone_on_its_own_channel() {
    let now = Instant::now();
    let mut lanes = Lanes::default();
    let shop = merchant(1);
    push_many(&mut lanes, &shop, Source::Written, 3, now);
    let first = take_all(&mut lanes, now);
    assert_eq!(first.len(), 1);
    assert_eq!(first[0].path, Path::Own);
    assert!(lanes.uses_own_channel(&shop));
    confirm(&mut lanes, &first, now);
    assert!(!lanes.uses_own_channel(&shop));
    let others = take_all(&mut lanes, now);
    assert_eq!(others.len(), 2);
    assert!(others.iter().all(is_on_common));
}

#[test]
fn refused_event_says_nothing_about_the_queues() {
    let now = Instant::now();
    let mut lanes = Lanes::default();
    push_many(&mut lanes, &merchant(1), Source::Written, 2, now);
    let first = lanes.next(now).unwrap();
    lanes.resolve(&first.mch_id, first.event.message.message_id, false, now);
    assert_eq!(lanes.next(now).unwrap().path, Path::Own);
}

#[test]
fn old_probe_says_nothing_about_the_queues() {
    let now = Instant::now();
    let mut lanes = Lanes::default();
    push(&mut lanes, &merchant(1), Source::Written, now);
    let first = take_all(&mut lanes, now);
    confirm(&mut lanes, &first, now);
    let later = now + PROBE_HOLDS;
    push(&mut lanes, &merchant(1), Source::Written, later);
    assert_eq!(lanes.next(later).unwrap().path, Path::Own);
}

#[test]
fn new_common_channel_makes_merchants_unknown() {
    let now = Instant::now();
    let mut lanes = known_lanes(now);
    lanes.forget_trust();
    push(&mut lanes, &merchant(1), Source::Written, now);
    assert_eq!(lanes.next(now).unwrap().path, Path::Own);
}

#[test]
fn merchant_has_at_most_16_unconfirmed_events_on_a_channel() {
    let now = Instant::now();
    let mut lanes = known_lanes(now);
    push_many(&mut lanes, &merchant(1), Source::Written, 2 * ON_COMMON_MAX, now);
    let first = take_all(&mut lanes, now);
    assert_eq!(first.len(), ON_COMMON_MAX);
    for channel in 0..COMMON_CHANNELS {
        let on_channel = first.iter().filter(|next| next.path == Path::Common(channel));
        assert_eq!(on_channel.count(), UNCONFIRMED_MAX);
    }
    confirm(&mut lanes, &first[..3], now);
    assert_eq!(take_all(&mut lanes, now).len(), 3);
}

#[test]
fn merchants_take_turns() {
    let now = Instant::now();
    let mut lanes = known_lanes(now);
    push_many(&mut lanes, &merchant(1), Source::Written, 3, now);
    push_many(&mut lanes, &merchant(2), Source::Written, 1, now);
    let taken = take_all(&mut lanes, now);
    let merchants: Vec<_> = taken.iter().map(|next| next.mch_id.clone()).collect();
    assert_eq!(merchants, [1, 2, 1, 1].map(merchant));
}

#[test]
fn written_and_swept_events_alternate() {
    let now = Instant::now();
    let mut lanes = known_lanes(now);
    let shop = merchant(1);
    let written = [(); 3].map(|()| push(&mut lanes, &shop, Source::Written, now));
    let swept = [(); 2].map(|()| push(&mut lanes, &shop, Source::Swept, now));
    let taken = take_all(&mut lanes, now);
    assert_eq!(ids(&taken), [written[0], swept[0], written[1], swept[1], written[2]]);
}

#[test]
fn replays_come_after_all_other_events() {
    let now = Instant::now();
    let mut lanes = known_lanes(now);
    let replay = push(&mut lanes, &merchant(1), Source::Replay, now);
    let written = push(&mut lanes, &merchant(1), Source::Written, now);
    let swept = push(&mut lanes, &merchant(2), Source::Swept, now);
    assert_eq!(ids(&take_all(&mut lanes, now)), [written, swept, replay]);
}

#[test]
fn unconfirmed_replays_of_all_merchants_are_bounded() {
    let now = Instant::now();
    let mut lanes = known_lanes(now);
    for number in 0..10 {
        push_many(&mut lanes, &merchant(number), Source::Replay, UNCONFIRMED_MAX, now);
    }
    let taken = take_all(&mut lanes, now);
    assert_eq!(taken.len(), REPLAYS_UNCONFIRMED_MAX);
    confirm(&mut lanes, &taken, now);
    assert_eq!(take_all(&mut lanes, now).len(), REPLAYS_UNCONFIRMED_MAX);
}

#[test]
fn lagging_merchant_uses_its_own_channel() {
    let now = Instant::now();
    let mut lanes = known_lanes(now);
    let shop = merchant(1);
    push_many(&mut lanes, &shop, Source::Written, ON_COMMON_MAX + 4, now);
    let first = take_all(&mut lanes, now);
    assert!(first.iter().all(is_on_common));
    assert_eq!(lanes.check(now), Checked::default());

    let later = now + LAGGING_AFTER;
    let checked = lanes.check(later);
    assert_eq!(checked.began_to_lag, std::slice::from_ref(&shop));
    assert_eq!(checked.late.len(), ON_COMMON_MAX);
    let second = take_all(&mut lanes, later);
    assert_eq!(second.len(), 4);
    assert!(second.iter().all(|next| next.path == Path::Own));
    // Each event is late once.
    assert_eq!(lanes.check(later), Checked::default());
}

#[test]
fn stuck_merchant_takes_no_further_event() {
    let now = Instant::now();
    let mut lanes = known_lanes(now);
    let shop = merchant(1);
    push_many(&mut lanes, &shop, Source::Written, 2 * ON_COMMON_MAX, now);
    assert_eq!(take_all(&mut lanes, now).len(), ON_COMMON_MAX);
    let later = now + LAGGING_AFTER;
    lanes.check(later);
    let second = take_all(&mut lanes, later);
    assert_eq!(second.len(), UNCONFIRMED_MAX);
    assert_eq!(lanes.sweep_capacity().full, std::slice::from_ref(&shop));
    // What still waited is in the outbox only, and so is what comes.
    lanes.check(later);
    push(&mut lanes, &shop, Source::Written, later);
    assert!(lanes.is_drained());
    lanes.take_sweep_wanted();
    confirm(&mut lanes, &second[..1], later);
    assert!(lanes.take_sweep_wanted());
    assert_eq!(lanes.sweep_capacity().full, []);
    assert_eq!(take_all(&mut lanes, later).len(), 0);
}

#[test]
fn late_confirms_end_the_lag() {
    let now = Instant::now();
    let mut lanes = known_lanes(now);
    let shop = merchant(1);
    push_many(&mut lanes, &shop, Source::Written, 2, now);
    let taken = take_all(&mut lanes, now);
    let later = now + LAGGING_AFTER;
    lanes.check(later);
    confirm(&mut lanes, &taken[..1], later);
    assert_eq!(lanes.check(later).ceased_to_lag, []);
    confirm(&mut lanes, &taken[1..], later);
    assert_eq!(lanes.check(later).ceased_to_lag, std::slice::from_ref(&shop));
    push(&mut lanes, &shop, Source::Written, later);
    assert!(is_on_common(&take_all(&mut lanes, later)[0]));
}

#[test]
fn lagging_merchants_leave_the_window_to_others() {
    let now = Instant::now();
    let mut lanes = known_lanes(now);
    for number in 1..=WINDOW / ON_COMMON_MAX {
        push_many(&mut lanes, &merchant(number), Source::Written, ON_COMMON_MAX, now);
    }
    let frozen = take_all(&mut lanes, now);
    assert_eq!(frozen.len(), WINDOW);
    let other = merchant(0);
    push(&mut lanes, &other, Source::Written, now);
    assert!(lanes.next(now).is_none(), "the window is full");

    let later = now + LAGGING_AFTER;
    lanes.check(later);
    assert_eq!(lanes.next(later).unwrap().mch_id, other);
    confirm(&mut lanes, &frozen, later);
    push_many(&mut lanes, &merchant(1), Source::Written, 1, later);
    assert_eq!(take_all(&mut lanes, later).len(), 1);
}

#[test]
fn event_past_its_lease_is_left_to_the_sweeps() {
    let now = Instant::now();
    let mut lanes = known_lanes(now);
    let shop = merchant(1);
    push(&mut lanes, &shop, Source::Written, now);
    let fresh = push(&mut lanes, &shop, Source::Written, now + LEASE);
    assert_eq!(ids(&take_all(&mut lanes, now + LEASE)), [fresh]);
}

#[test]
fn memory_for_written_events_is_bounded() {
    let now = Instant::now();
    let mut lanes = known_lanes(now);
    for number in 0..6 {
        let count = WRITTEN_WAITING_MAX + 10;
        push_many(&mut lanes, &merchant(number), Source::Written, count, now);
    }
    let mut published = 0;
    loop {
        let taken = take_all(&mut lanes, now);
        if taken.is_empty() {
            break;
        }
        published += taken.len();
        confirm(&mut lanes, &taken, now);
    }
    assert_eq!(published, WRITTEN_WAITING_MAX_OF_ALL);
}

#[test]
fn sweep_is_wanted_before_its_events_run_out() {
    let now = Instant::now();
    let mut lanes = known_lanes(now);
    push_many(&mut lanes, &merchant(1), Source::Swept, SWEPT_LOW + 2, now);
    assert!(!lanes.sweep_capacity().full.is_empty());
    assert!(lanes.next(now).is_some());
    assert!(!lanes.take_sweep_wanted());
    assert!(lanes.next(now).is_some());
    assert!(lanes.take_sweep_wanted());
    assert!(lanes.sweep_capacity().full.is_empty());
}
