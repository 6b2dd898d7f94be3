//! In front of one merchant's calls: its breaker, its rate, and what is under way.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use wechatpay_v2::{ApiKey, CallOutcome, MchId};

use super::breaker::{Breaker, BreakerConfig, Generation, State};
use super::token_bucket::TokenBucket;

/// So long a call waits for its turn, in its caller's place and under its lease: with the call's
/// own 8 s it leaves 20 of the lease's 30 s to the store.
pub(super) const TOKEN_WAIT_MAX: Duration = Duration::from_secs(2);
/// Places become free as fast as calls end, which is usually a fraction of a second.
const NO_PERMIT_PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct MerchantLimiter {
    mch_id: MchId,
    inside: Mutex<LimiterState>,
}

#[derive(Debug)]
struct LimiterState {
    /// The key that the breaker knows about.
    key: ApiKey,
    breaker: Breaker,
    rate: TokenBucket,
    under_way: u32,
    last_failure: String,
}

/// A call that is not made now. It costs its order no attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Deferred {
    /// How long until it is worth trying again.
    pub(crate) pause: Duration,
    /// What WeChat last said to calls of this merchant, where that is the reason.
    pub(crate) gateway_message: Option<String>,
}

/// A call under way.
#[derive(Debug)]
pub(super) struct CallPermit {
    limiter: Arc<MerchantLimiter>,
    generation: Generation,
    ended: bool,
}

impl Deferred {
    /// Too many orders of this merchant are under way.
    pub(crate) fn no_permit(mch_id: &MchId) -> Self {
        Self::new(mch_id, "place", NO_PERMIT_PAUSE, None)
    }

    fn new(mch_id: &MchId, reason: &'static str, pause: Duration, message: Option<String>) -> Self {
        let mch_id = mch_id.to_string();
        metrics::counter!("wxpay_gateway_deferred_total", "mch_id" => mch_id, "reason" => reason)
            .increment(1);
        Self { pause, gateway_message: message }
    }
}

impl MerchantLimiter {
    pub(super) fn new(mch_id: MchId, key: ApiKey, config: BreakerConfig) -> Self {
        let inside = LimiterState {
            key,
            breaker: Breaker::new(config),
            rate: TokenBucket::default(),
            under_way: 0,
            last_failure: String::new(),
        };
        Self { mch_id, inside: Mutex::new(inside) }
    }

    /// What was learned with another key is forgotten.
    pub(super) fn with_key(&self, key: &ApiKey) {
        let mut inside = self.inside();
        if inside.key != *key {
            inside.key = key.clone();
            inside.breaker.close();
        }
    }

    /// Shows nothing of itself any more.
    pub(super) fn retire(&self) {
        self.inside().breaker.close();
        self.update_gauges();
    }

    /// How long to wait for the turn. Whoever meets an open breaker takes nobody's turn.
    pub(super) fn reserve_token(&self, per_second: u32) -> Result<Duration, Deferred> {
        let (mut inside, now) = (self.inside(), Instant::now());
        if let Some(pause) = inside.breaker.open_for(now) {
            return Err(self.open_for(&inside, pause));
        }
        let turn = inside.rate.take(per_second, TOKEN_WAIT_MAX, now);
        turn.map_err(|pause| Deferred::new(&self.mch_id, "rate", pause, None))
    }

    pub(super) fn begin_call(self: Arc<Self>) -> Result<CallPermit, Deferred> {
        let mut inside = self.inside();
        let generation = match inside.breaker.acquire(Instant::now()) {
            Ok(generation) => generation,
            Err(pause) => return Err(self.open_for(&inside, pause)),
        };
        inside.under_way += 1;
        drop(inside);
        self.update_gauges();
        Ok(CallPermit { limiter: self, generation, ended: false })
    }

    fn open_for(&self, inside: &LimiterState, pause: Duration) -> Deferred {
        let said = format!("calls of this merchant fail at present: {}", inside.last_failure);
        Deferred::new(&self.mch_id, "breaker", pause, Some(said))
    }

    /// How many orders are worth looking at now: none while calls pause, one to find out whether
    /// they work again, else as many as would not wait too long for their turn.
    pub(super) fn available_capacity(&self, per_second: u32) -> usize {
        let (inside, now) = (self.inside(), Instant::now());
        match (inside.breaker.state(), inside.breaker.open_for(now)) {
            (_, Some(_)) => 0,
            (State::Closed { .. }, None) => inside.rate.left(per_second, TOKEN_WAIT_MAX, now),
            (State::Open { .. } | State::HalfOpen, None) => 1,
        }
    }

    pub(super) fn update_gauges(&self) {
        let inside = self.inside();
        let state = match inside.breaker.state() {
            State::Closed { .. } => 0.0,
            State::HalfOpen => 1.0,
            State::Open { .. } => 2.0,
        };
        let mch_id = || self.mch_id.to_string();
        metrics::gauge!("wxpay_gateway_breaker_state", "mch_id" => mch_id()).set(state);
        metrics::gauge!("wxpay_gateway_calls_under_way", "mch_id" => mch_id())
            .set(f64::from(inside.under_way));
    }

    /// Has the breaker learn, and says what that changed.
    fn update_breaker(&self, how: impl FnOnce(&mut LimiterState)) {
        let mut inside = self.inside();
        let before = inside.breaker.state();
        how(&mut inside);
        let mch_id = &self.mch_id;
        match (before, inside.breaker.state()) {
            (State::Closed { .. }, State::Open { .. }) => {
                let message = &inside.last_failure;
                tracing::warn!(%mch_id, message, "every call of this merchant fails: they pause");
            }
            (State::HalfOpen, State::Closed { .. }) => {
                tracing::info!(%mch_id, "calls of this merchant work again");
            }
            _ => {}
        }
        drop(inside);
        self.update_gauges();
    }

    fn inside(&self) -> MutexGuard<'_, LimiterState> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CallPermit {
    /// The call has ended.
    pub(super) fn finish<T>(mut self, verdict: &CallOutcome<T>) {
        self.ended = true;
        let failure = match verdict {
            CallOutcome::Success(_) => None,
            CallOutcome::Refused(no) if no.affects_every_call() => {
                Some(format!("{}: {}", no.err_code, no.err_code_des))
            }
            CallOutcome::Refused(_) => None,
            CallOutcome::Unknown(why) => Some(why.to_string()),
        };
        let generation = self.generation;
        self.limiter.update_breaker(|inside| match failure {
            None => inside.breaker.record_success(generation),
            Some(failure) => {
                inside.last_failure = failure;
                inside.breaker.record_failure(generation, Instant::now());
            }
        });
    }
}

impl Drop for CallPermit {
    fn drop(&mut self) {
        let (generation, ended) = (self.generation, self.ended);
        self.limiter.update_breaker(|inside| {
            inside.under_way = inside.under_way.saturating_sub(1);
            if !ended {
                inside.breaker.record_dropped(generation, Instant::now());
            }
        });
    }
}
