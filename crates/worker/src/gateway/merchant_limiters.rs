use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wechatpay_v2::{ApiKey, Credentials, MchId};

use super::GatewayLimits;
use super::breaker::BreakerConfig;
use super::merchant_limiter::{CallPermit, Deferred, MerchantLimiter};
use crate::merchants::{Merchant, Merchants};

#[cfg(test)]
mod tests;

/// Of a breaker's pause: breakers that opened together in several workers do not probe together.
const BREAKER_JITTER: f64 = 0.5;

/// One limiter per merchant: a call is made now, after a short wait, or later. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct MerchantLimiters {
    merchants: Merchants,
    breaker_config: BreakerConfig,
    /// [`MerchantLimiters::available_capacity`] removes those whose merchants are gone.
    limiters: Arc<Mutex<HashMap<MchId, Arc<MerchantLimiter>>>>,
}

impl MerchantLimiters {
    pub(super) fn new(merchants: Merchants, limits: &GatewayLimits) -> Self {
        let breaker_config = BreakerConfig {
            failures_max: limits.failures_max,
            pause_first: limits.pause_first,
            pause_max: limits.pause_max,
            jitter: BREAKER_JITTER,
        };
        Self { merchants, breaker_config, limiters: Arc::default() }
    }

    /// Waits for a rate-limit token, if the wait is short. The caller makes its call at once.
    pub(super) async fn acquire(&self, credentials: &Credentials) -> Result<CallPermit, Deferred> {
        let mch_id = &credentials.mch_id;
        let current = self.merchants.get(mch_id);
        let current = current.as_deref();
        let key = current.map_or(&credentials.key, |merchant| &merchant.key);
        let per_second =
            current.map_or(Merchant::REQUESTS_PER_SECOND, |merchant| merchant.requests_per_second);
        let limiter = self.limiter(mch_id, key);
        let wait = limiter.reserve_token(per_second)?;
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        limiter.begin_call()
    }

    /// How many calls of each merchant could begin now. Also updates the gauges and removes the
    /// limiters of merchants that are gone.
    pub(super) fn available_capacity(&self) -> Vec<(MchId, usize)> {
        let merchants = self.merchants.all();
        self.limiters().retain(|mch_id, limiter| {
            let is_configured = merchants.contains_key(mch_id);
            if !is_configured {
                limiter.retire();
            }
            is_configured
        });
        let capacity = merchants.iter().map(|(mch_id, merchant)| {
            let limiter = self.limiter(mch_id, &merchant.key);
            limiter.update_gauges();
            (mch_id.clone(), limiter.available_capacity(merchant.requests_per_second))
        });
        capacity.collect()
    }

    fn limiter(&self, mch_id: &MchId, key: &ApiKey) -> Arc<MerchantLimiter> {
        let mut limiters = self.limiters();
        let limiter = limiters.entry(mch_id.clone()).or_insert_with(|| {
            let limiter = MerchantLimiter::new(mch_id.clone(), key.clone(), self.breaker_config);
            Arc::new(limiter)
        });
        limiter.set_key(key);
        Arc::clone(limiter)
    }

    fn limiters(&self) -> MutexGuard<'_, HashMap<MchId, Arc<MerchantLimiter>>> {
        self.limiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
