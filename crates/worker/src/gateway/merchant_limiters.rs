//! A call is made now, after a short wait, or later: one limiter per merchant says which.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wechatpay_v2::{ApiKey, Credentials, MchId};

use super::GatewayLimits;
use super::breaker::BreakerConfig;
use super::merchant_limiter::{CallPermit, Deferred, MerchantLimiter};
use crate::merchants::{Merchant, Merchants};

/// Of a breaker's pause, so that workers that opened together do not probe together.
const BREAKER_JITTER: f64 = 0.5;

/// The limiters of all merchants. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct MerchantLimiters {
    merchants: Merchants,
    config: BreakerConfig,
    /// Only merchants of the file: those that are gone are dropped by [`MerchantLimiters::available_capacity`].
    limiters: Arc<Mutex<HashMap<MchId, Arc<MerchantLimiter>>>>,
}

impl MerchantLimiters {
    pub(super) fn new(merchants: Merchants, gateway_limits: &GatewayLimits) -> Self {
        let config = BreakerConfig {
            failures_max: gateway_limits.failures_max,
            pause_first: gateway_limits.pause_first,
            pause_max: gateway_limits.pause_max,
            jitter: BREAKER_JITTER,
        };
        Self { merchants, config, limiters: Arc::default() }
    }

    /// Waits for the call's turn, if that is near; the call is then to be made at once.
    pub(super) async fn acquire(&self, by: &Credentials) -> Result<CallPermit, Deferred> {
        let current = self.merchants.get(&by.mch_id);
        let key = current.as_ref().map_or(&by.key, |merchant| &merchant.key);
        let per_second = current
            .as_ref()
            .map_or(Merchant::REQUESTS_PER_SECOND, |merchant| merchant.requests_per_second);
        let limiter = self.limiter_for(&by.mch_id, key);
        let wait = limiter.reserve_token(per_second)?;
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        limiter.begin_call()
    }

    /// How many orders of each merchant are worth looking at now. Also shows each limiter in the
    /// metrics, and forgets those whose merchants are gone.
    pub(super) fn available_capacity(&self) -> Vec<(MchId, usize)> {
        let merchants = self.merchants.all();
        self.limiters().retain(|mch_id, limiter| {
            let stays = merchants.contains_key(mch_id);
            if !stays {
                limiter.retire();
            }
            stays
        });
        let available_capacity = merchants.iter().map(|(mch_id, merchant)| {
            let limiter = self.limiter_for(mch_id, &merchant.key);
            limiter.update_gauges();
            (mch_id.clone(), limiter.available_capacity(merchant.requests_per_second))
        });
        available_capacity.collect()
    }

    /// The limiter of a merchant whose key this is.
    fn limiter_for(&self, mch_id: &MchId, key: &ApiKey) -> Arc<MerchantLimiter> {
        let mut limiters = self.limiters();
        let limiter = limiters.entry(mch_id.clone()).or_insert_with(|| {
            Arc::new(MerchantLimiter::new(mch_id.clone(), key.clone(), self.config))
        });
        limiter.with_key(key);
        Arc::clone(limiter)
    }

    fn limiters(&self) -> MutexGuard<'_, HashMap<MchId, Arc<MerchantLimiter>>> {
        self.limiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use wechatpay_v2::{AppId, CallOutcome, SignType, Unknown};

    use super::super::merchant_limiter::TOKEN_WAIT_MAX;
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn merchant(mch_id: &str, key: &str, requests_per_second: u32) -> Merchant {
        Merchant {
            mch_id: MchId::parse(mch_id).unwrap(),
            appids: vec![AppId::parse("wx8888888888888888").unwrap()],
            sign_type: SignType::Md5,
            notify_base_url: "https://pay.example.com".to_owned(),
            key: ApiKey::parse(&key.repeat(32)).unwrap(),
            previous_key: None,
            requests_per_second,
        }
    }

    /// Two failures open a breaker for as long as a test lasts.
    fn limiters(list: Vec<Merchant>) -> MerchantLimiters {
        let gateway_limits = GatewayLimits {
            failures_max: 2,
            pause_first: DAY,
            pause_max: DAY,
            ..GatewayLimits::default()
        };
        MerchantLimiters::new(Merchants::of(list).unwrap(), &gateway_limits)
    }

    fn failure() -> CallOutcome<()> {
        CallOutcome::Unknown(Unknown::Transport("no answer in time".to_owned()))
    }

    fn available_capacity(limiters: &MerchantLimiters) -> Vec<(String, usize)> {
        let available_capacity = limiters.available_capacity().into_iter();
        let mut available_capacity: Vec<_> = available_capacity
            .map(|(mch_id, capacity)| (mch_id.to_string(), capacity.min(2)))
            .collect();
        available_capacity.sort_unstable();
        available_capacity
    }

    #[tokio::test]
    async fn a_merchant_whose_calls_fail_is_deferred_and_no_other() {
        let (one, two) = (merchant("1", "a", 100), merchant("2", "b", 100));
        let limiters = limiters(vec![one.clone(), two.clone()]);
        let by = one.credentials(SignType::Md5);
        for _ in 0..2 {
            limiters.acquire(&by).await.unwrap().finish(&failure());
        }
        let deferred = limiters.acquire(&by).await.unwrap_err();
        let message = deferred.gateway_message.as_deref();
        assert_eq!(message, Some("calls of this merchant fail at present: no answer in time"));
        assert!(deferred.pause >= DAY / 3, "{deferred:?}");
        limiters
            .acquire(&two.credentials(SignType::Md5))
            .await
            .unwrap()
            .finish(&CallOutcome::Success(()));
        let expected = [("1".to_owned(), 0), ("2".to_owned(), 2)];
        assert_eq!(available_capacity(&limiters), expected);
    }

    #[tokio::test]
    async fn another_key_is_tried_at_once_and_a_merchant_that_is_gone_is_forgotten() {
        let (one, two) = (merchant("1", "a", 100), merchant("2", "b", 100));
        let limiters = limiters(vec![one.clone(), two.clone()]);
        for merchant in [&one, &two] {
            for _ in 0..2 {
                let by = merchant.credentials(SignType::Md5);
                limiters.acquire(&by).await.unwrap().finish(&failure());
            }
        }
        let mended = merchant("1", "c", 100);
        limiters.merchants.replace(&Merchants::of(vec![mended.clone()]).unwrap());
        // Also for whoever still holds the key of before.
        limiters
            .acquire(&one.credentials(SignType::Md5))
            .await
            .unwrap()
            .finish(&CallOutcome::Success(()));
        limiters
            .acquire(&mended.credentials(SignType::Md5))
            .await
            .unwrap()
            .finish(&CallOutcome::Success(()));
        assert_eq!(available_capacity(&limiters), [("1".to_owned(), 2)]);
        assert_eq!(limiters.limiters().len(), 1);
    }

    #[tokio::test]
    async fn a_probe_that_is_dropped_is_no_probe_for_ever() {
        let one = merchant("1", "a", 100);
        let gateway_limits = GatewayLimits {
            failures_max: 1,
            pause_first: Duration::ZERO,
            pause_max: Duration::ZERO,
            ..GatewayLimits::default()
        };
        let limiters =
            MerchantLimiters::new(Merchants::of(vec![one.clone()]).unwrap(), &gateway_limits);
        let by = one.credentials(SignType::Md5);
        limiters.acquire(&by).await.unwrap().finish(&failure());
        assert_eq!(available_capacity(&limiters), [("1".to_owned(), 1)]);
        let probe = limiters.acquire(&by).await.unwrap();
        assert_eq!(available_capacity(&limiters), [("1".to_owned(), 0)]);
        assert!(limiters.acquire(&by).await.is_err(), "a second probe");
        drop(probe);
        limiters.acquire(&by).await.unwrap().finish(&CallOutcome::Success(()));
        assert_eq!(available_capacity(&limiters), [("1".to_owned(), 2)]);
    }

    #[test]
    fn a_short_wait_is_waited_and_a_long_one_deferred() {
        let one = merchant("1", "a", 1);
        let limiters = limiters(vec![one.clone()]);
        let limiter = limiters.limiter_for(&one.mch_id, &one.key);
        let turns: Vec<_> = (0..4).map(|_| limiter.reserve_token(1)).collect();
        assert_eq!(turns[0], Ok(Duration::ZERO));
        let later = |turn: &Result<Duration, Deferred>| turn.as_ref().is_ok_and(|it| !it.is_zero());
        assert!(later(&turns[1]) && later(&turns[2]), "{turns:?}");
        let deferred = turns[3].as_ref().unwrap_err();
        assert!(deferred.pause > TOKEN_WAIT_MAX, "{deferred:?}");
        assert_eq!(deferred.gateway_message, None);
    }
}
