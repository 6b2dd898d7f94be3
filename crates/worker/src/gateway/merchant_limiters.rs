use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wechatpay_v2::{ApiKey, Credentials, MchId};

use super::GatewayLimits;
use super::breaker::BreakerConfig;
use super::fair_semaphore::share;
use super::merchant_limiter::MerchantLimiter;
use crate::merchants::{Merchant, Merchants};

/// Of a breaker's pause: breakers that opened together in several workers do not probe together.
const BREAKER_JITTER: f64 = 0.5;

/// One limiter per merchant. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct MerchantLimiters {
    merchants: Merchants,
    breaker_config: BreakerConfig,
    /// Workers that share the rates, this one included.
    workers: Arc<AtomicU32>,
    /// [`MerchantLimiters::all`] removes those whose merchants are gone.
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
        Self {
            merchants,
            breaker_config,
            workers: Arc::new(AtomicU32::new(1)),
            limiters: Arc::default(),
        }
    }

    /// The limiter of a call, as its merchant is configured now.
    pub(super) fn current(&self, credentials: &Credentials) -> Arc<MerchantLimiter> {
        let mch_id = &credentials.mch_id;
        match self.merchants.get(mch_id) {
            Some(merchant) => self.of(&merchant),
            None => self.limiter(mch_id, &credentials.key, None),
        }
    }

    /// `None` for a merchant that is not configured.
    pub(super) fn get(&self, mch_id: &MchId) -> Option<Arc<MerchantLimiter>> {
        self.merchants.get(mch_id).map(|merchant| self.of(&merchant))
    }

    /// Of every configured merchant. Also updates the gauges and removes the limiters of merchants
    /// that are gone.
    pub(super) fn all(&self) -> Vec<(MchId, Arc<MerchantLimiter>)> {
        let merchants = self.merchants.all();
        self.limiters().retain(|mch_id, limiter| {
            let is_configured = merchants.contains_key(mch_id);
            if !is_configured {
                limiter.retire();
            }
            is_configured
        });
        let limiters = merchants.iter().map(|(mch_id, merchant)| {
            let limiter = self.of(merchant);
            limiter.update_gauges();
            (mch_id.clone(), limiter)
        });
        limiters.collect()
    }

    pub(super) fn set_workers(&self, workers: u32) {
        self.workers.store(workers.max(1), Ordering::Relaxed);
    }

    /// Of this many permits, those that one merchant may have at once.
    pub(super) fn share(&self, permits: usize) -> usize {
        share(permits, self.merchants.all().len())
    }

    fn of(&self, merchant: &Merchant) -> Arc<MerchantLimiter> {
        self.limiter(&merchant.mch_id, &merchant.key, merchant.requests_per_second)
    }

    fn limiter(&self, mch_id: &MchId, key: &ApiKey, rate_max: Option<u32>) -> Arc<MerchantLimiter> {
        let mut limiters = self.limiters();
        let limiter = limiters.entry(mch_id.clone()).or_insert_with(|| {
            let limiter = MerchantLimiter::new(mch_id.clone(), key.clone(), self.breaker_config);
            Arc::new(limiter)
        });
        limiter.configure(key, rate_max, self.workers.load(Ordering::Relaxed));
        Arc::clone(limiter)
    }

    fn limiters(&self) -> MutexGuard<'_, HashMap<MchId, Arc<MerchantLimiter>>> {
        self.limiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
