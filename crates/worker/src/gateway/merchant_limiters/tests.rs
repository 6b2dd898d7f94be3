use std::time::Duration;

use wechatpay_v2::{CallOutcome, SignType, Unknown};

use super::*;
use crate::gateway::merchant_limiter::TOKEN_WAIT_MAX;
use crate::merchants::testing::merchant;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Two failures open a breaker for as long as a test lasts.
fn limiters(merchants: Vec<Merchant>) -> MerchantLimiters {
    let limits = GatewayLimits {
        failures_max: 2,
        pause_first: DAY,
        pause_max: DAY,
        ..GatewayLimits::default()
    };
    MerchantLimiters::new(Merchants::of(merchants).unwrap(), &limits)
}

async fn fail(limiters: &MerchantLimiters, merchant: &Merchant) {
    let permit = limiters.acquire(&merchant.credentials(SignType::Md5)).await.unwrap();
    let failure = Unknown::Transport("no answer in time".to_owned());
    permit.finish(&CallOutcome::<()>::Unknown(failure));
}

async fn succeed(limiters: &MerchantLimiters, merchant: &Merchant) {
    let permit = limiters.acquire(&merchant.credentials(SignType::Md5)).await.unwrap();
    permit.finish(&CallOutcome::Success(()));
}

/// Zero, one, or two for more.
fn available_capacity(limiters: &MerchantLimiters) -> Vec<(String, usize)> {
    let capacity = limiters.available_capacity().into_iter();
    let mut capacity: Vec<_> =
        capacity.map(|(mch_id, capacity)| (mch_id.to_string(), capacity.min(2))).collect();
    capacity.sort_unstable();
    capacity
}

#[tokio::test]
async fn only_the_merchant_whose_calls_fail_is_deferred() {
    let failing = merchant("1", "a", 100);
    let working = merchant("2", "b", 100);
    let limiters = limiters(vec![failing.clone(), working.clone()]);
    for _ in 0..2 {
        fail(&limiters, &failing).await;
    }
    let deferred = limiters.acquire(&failing.credentials(SignType::Md5)).await.unwrap_err();
    let message = deferred.gateway_message.as_deref();
    assert_eq!(message, Some("calls of this merchant fail at present: no answer in time"));
    assert!(deferred.pause >= DAY / 3, "{deferred:?}");
    succeed(&limiters, &working).await;
    let expected = [("1".to_owned(), 0), ("2".to_owned(), 2)];
    assert_eq!(available_capacity(&limiters), expected);
}

#[tokio::test]
async fn new_key_is_tried_at_once_and_removed_merchant_is_forgotten() {
    let changed = merchant("1", "a", 100);
    let removed = merchant("2", "b", 100);
    let limiters = limiters(vec![changed.clone(), removed.clone()]);
    for merchant in [&changed, &removed] {
        for _ in 0..2 {
            fail(&limiters, merchant).await;
        }
    }
    let with_new_key = merchant("1", "c", 100);
    limiters.merchants.replace(&Merchants::of(vec![with_new_key.clone()]).unwrap());
    // Also for a caller that still has the old key.
    succeed(&limiters, &changed).await;
    succeed(&limiters, &with_new_key).await;
    assert_eq!(available_capacity(&limiters), [("1".to_owned(), 2)]);
    assert_eq!(limiters.limiters().len(), 1);
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
    let limiters = MerchantLimiters::new(Merchants::of(vec![merchant.clone()]).unwrap(), &limits);
    let credentials = merchant.credentials(SignType::Md5);
    fail(&limiters, &merchant).await;
    assert_eq!(available_capacity(&limiters), [("1".to_owned(), 1)]);
    let probe = limiters.acquire(&credentials).await.unwrap();
    assert_eq!(available_capacity(&limiters), [("1".to_owned(), 0)]);
    assert!(limiters.acquire(&credentials).await.is_err(), "a second probe");
    drop(probe);
    succeed(&limiters, &merchant).await;
    assert_eq!(available_capacity(&limiters), [("1".to_owned(), 2)]);
}

#[test]
fn call_waits_shortly_for_a_token_and_is_deferred_otherwise() {
    let merchant = merchant("1", "a", 1);
    let limiters = limiters(vec![merchant.clone()]);
    let limiter = limiters.limiter(&merchant.mch_id, &merchant.key);
    let waits: Vec<_> = (0..4).map(|_| limiter.reserve_token(1)).collect();
    assert_eq!(waits[0], Ok(Duration::ZERO));
    let is_later = |wait: &Result<Duration, Deferred>| wait.as_ref().is_ok_and(|it| !it.is_zero());
    assert!(is_later(&waits[1]) && is_later(&waits[2]), "{waits:?}");
    let deferred = waits[3].as_ref().unwrap_err();
    assert!(deferred.pause > TOKEN_WAIT_MAX, "{deferred:?}");
    assert_eq!(deferred.gateway_message, None);
}
