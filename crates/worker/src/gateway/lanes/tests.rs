use std::time::Duration;

use futures_util::future::join_all;
use wechatpay_v2::{SignType, Unknown};

use super::*;
use crate::gateway::GatewayLimits;
use crate::merchants::testing::merchant;
use crate::merchants::{Merchant, Merchants};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Two failures open a breaker for as long as a test lasts.
fn limits() -> GatewayLimits {
    GatewayLimits { failures_max: 2, pause_first: DAY, pause_max: DAY, ..GatewayLimits::default() }
}

fn lanes_of(merchants: &Merchants, limits: &GatewayLimits) -> Lanes {
    Lanes::new(MerchantLimiters::new(merchants.clone(), limits), limits.concurrent_calls)
}

fn lanes(merchants: Vec<Merchant>) -> Lanes {
    lanes_of(&Merchants::of(merchants).unwrap(), &limits())
}

async fn turn(lanes: &Lanes, merchant: &Merchant) -> Result<Turn, Deferred> {
    lanes.turn(&merchant.credentials(SignType::Md5), Priority::Create, None).await
}

async fn fail(lanes: &Lanes, merchant: &Merchant) {
    let failure = Unknown::Transport("no answer in time".to_owned());
    turn(lanes, merchant).await.unwrap().finish(&CallOutcome::<()>::Unknown(failure));
}

async fn succeed(lanes: &Lanes, merchant: &Merchant) {
    turn(lanes, merchant).await.unwrap().finish(&CallOutcome::Success(()));
}

/// Zero, one, or two for more.
fn available_checks(lanes: &Lanes) -> Vec<(String, usize)> {
    let checks = lanes.available_checks().into_iter();
    let mut checks: Vec<_> =
        checks.map(|(mch_id, checks)| (mch_id.to_string(), checks.min(2))).collect();
    checks.sort_unstable();
    checks
}

#[tokio::test]
async fn only_the_merchant_whose_calls_fail_is_deferred() {
    let failing = merchant("1", "a", 100);
    let working = merchant("2", "b", 100);
    let lanes = lanes(vec![failing.clone(), working.clone()]);
    for _ in 0..2 {
        fail(&lanes, &failing).await;
    }
    let deferred = turn(&lanes, &failing).await.unwrap_err();
    let message = deferred.gateway_message.as_deref();
    assert_eq!(message, Some("calls of this merchant fail at present: no answer in time"));
    assert!(deferred.pause >= DAY / 3, "{deferred:?}");
    assert!(lanes.admit(&failing.mch_id).is_err());
    succeed(&lanes, &working).await;
    assert_eq!(available_checks(&lanes), [("1".to_owned(), 0), ("2".to_owned(), 2)]);
}

#[tokio::test]
async fn new_key_is_tried_at_once_and_removed_merchant_is_forgotten() {
    let changed = merchant("1", "a", 100);
    let removed = merchant("2", "b", 100);
    let merchants = Merchants::of(vec![changed.clone(), removed.clone()]).unwrap();
    let lanes = lanes_of(&merchants, &limits());
    for merchant in [&changed, &removed] {
        for _ in 0..2 {
            fail(&lanes, merchant).await;
        }
    }
    let with_new_key = merchant("1", "c", 100);
    merchants.replace(&Merchants::of(vec![with_new_key.clone()]).unwrap());
    // Also for a caller that still has the old key.
    succeed(&lanes, &changed).await;
    succeed(&lanes, &with_new_key).await;
    assert_eq!(available_checks(&lanes), [("1".to_owned(), 2)]);
    assert!(matches!(lanes.admit(&removed.mch_id), Ok(None)));
}

#[tokio::test]
async fn dropped_probe_makes_way_for_another() {
    let merchant = merchant("1", "a", 100);
    let limits = GatewayLimits {
        failures_max: 1,
        pause_first: Duration::ZERO,
        pause_max: Duration::ZERO,
        ..GatewayLimits::default()
    };
    let lanes = lanes_of(&Merchants::of(vec![merchant.clone()]).unwrap(), &limits);
    fail(&lanes, &merchant).await;
    assert_eq!(available_checks(&lanes), [("1".to_owned(), 1)]);
    let probe = turn(&lanes, &merchant).await.unwrap();
    assert_eq!(available_checks(&lanes), [("1".to_owned(), 0)]);
    assert!(turn(&lanes, &merchant).await.is_err(), "a second probe");
    drop(probe);
    succeed(&lanes, &merchant).await;
    assert_eq!(available_checks(&lanes), [("1".to_owned(), 2)]);
}

#[tokio::test]
async fn call_waits_for_its_rate_and_is_deferred_after_a_bounded_wait() {
    let merchant = merchant("1", "a", 1);
    let lanes = lanes(vec![merchant.clone()]);
    let turns = join_all((0..10).map(|_| turn(&lanes, &merchant))).await;
    // One at once and one after each second of the wait.
    let begun = turns.iter().filter(|turn| turn.is_ok()).count();
    assert!((2..=4).contains(&begun), "{begun}");
    let deferred = turns.iter().find_map(|turn| turn.as_ref().err()).unwrap();
    assert_eq!(deferred.gateway_message, None);
}

#[tokio::test]
async fn full_lane_admits_no_more_until_a_call_begins() {
    let merchant = merchant("1", "a", 2);
    let lanes = lanes(vec![merchant.clone()]);
    let admit = || lanes.admit(&merchant.mch_id).unwrap();
    let mut admitted: Vec<Admission> = std::iter::from_fn(admit).collect();
    assert_eq!(admitted.len(), 4);
    assert_eq!(lanes.available_places(), [(merchant.mch_id.clone(), 0)]);
    let first = admitted.pop();
    let credentials = merchant.credentials(SignType::Md5);
    let turn = lanes.turn(&credentials, Priority::Create, first).await.unwrap();
    assert!(admit().is_some());
    drop((turn, admitted));
    assert_eq!(lanes.state().admitted, 0);
}

#[tokio::test]
async fn waiting_merchants_take_turns_and_share_calls_in_progress() {
    let one = merchant("1", "a", 1000);
    let two = merchant("2", "b", 1000);
    let limits = GatewayLimits { concurrent_calls: 4, ..limits() };
    let merchants = Merchants::of(vec![one.clone(), two.clone()]).unwrap();
    let lanes = lanes_of(&merchants, &limits);
    let held = [turn(&lanes, &one).await.unwrap(), turn(&lanes, &one).await.unwrap()];
    // The share of the first is used up; the second still has its own.
    let third = turn(&lanes, &one);
    tokio::pin!(third);
    assert!(futures_util::poll!(&mut third).is_pending());
    let others = [turn(&lanes, &two).await.unwrap(), turn(&lanes, &two).await.unwrap()];
    let [first, _second] = held;
    first.finish(&CallOutcome::Success(()));
    assert!(third.await.is_ok());
    drop(others);
}

#[tokio::test]
async fn every_priority_gets_a_turn() {
    let merchant = merchant("1", "a", 1000);
    let limits = GatewayLimits { concurrent_calls: 1, ..limits() };
    let lanes = lanes_of(&Merchants::of(vec![merchant.clone()]).unwrap(), &limits);
    let credentials = merchant.credentials(SignType::Md5);
    let begun = Mutex::new(Vec::new());
    let call = async |priority| {
        let turn = lanes.turn(&credentials, priority, None).await.unwrap();
        begun.lock().unwrap().push(priority);
        turn.finish(&CallOutcome::Success(()));
    };
    let checks = [Priority::Check, Priority::Check, Priority::Close];
    let creates = [Priority::Create; 20];
    let first = lanes.turn(&credentials, Priority::Create, None).await.unwrap();
    let calls = join_all(checks.into_iter().chain(creates).map(call));
    tokio::pin!(calls);
    assert!(futures_util::poll!(&mut calls).is_pending());
    drop(first);
    calls.await;
    let begun = begun.lock().unwrap().clone();
    let position = |priority| begun.iter().position(|it| *it == priority).unwrap();
    assert_eq!(begun[0], Priority::Create);
    assert_eq!(position(Priority::Close), 2);
    assert_eq!(position(Priority::Check), 6);
}

#[tokio::test]
async fn closed_lanes_defer_what_waits_and_what_comes() {
    let merchant = merchant("1", "a", 1000);
    let limits = GatewayLimits { concurrent_calls: 1, ..limits() };
    let lanes = lanes_of(&Merchants::of(vec![merchant.clone()]).unwrap(), &limits);
    let held = turn(&lanes, &merchant).await.unwrap();
    let waiting = turn(&lanes, &merchant);
    tokio::pin!(waiting);
    assert!(futures_util::poll!(&mut waiting).is_pending());
    lanes.close();
    assert!(waiting.await.is_err());
    assert!(turn(&lanes, &merchant).await.is_err());
    assert!(matches!(lanes.admit(&merchant.mch_id), Ok(None)));
    held.finish(&CallOutcome::Success(()));
}

#[tokio::test]
async fn ten_thousand_waiting_calls_are_deferred_when_breaker_opens() {
    let merchant = merchant("1", "a", 2);
    let merchants = Merchants::of(vec![merchant.clone()]).unwrap();
    let pause = Duration::from_millis(1);
    let limits = GatewayLimits { pause_first: pause, pause_max: pause, ..limits() };
    let lanes = lanes_of(&merchants, &limits);
    let first = [turn(&lanes, &merchant).await.unwrap(), turn(&lanes, &merchant).await.unwrap()];
    let mut waiting = Box::pin(join_all((0..10_000).map(|_| turn(&lanes, &merchant))));
    assert!(futures_util::poll!(&mut waiting).is_pending());
    for turn in first {
        let failure = Unknown::Transport("no answer in time".to_owned());
        turn.finish(&CallOutcome::<()>::Unknown(failure));
    }
    let deferred = waiting.await.into_iter().filter_map(Result::err);
    let by_breaker = deferred.filter(|it| it.gateway_message.is_some()).count();
    assert!(by_breaker >= 9_990, "{by_breaker}");
    // Nothing of them is left behind: after the pause a call begins.
    let begun = async {
        while turn(&lanes, &merchant).await.is_err() {
            tokio::time::sleep(pause).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), begun).await.unwrap();
}
