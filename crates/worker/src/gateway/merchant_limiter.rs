use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use service::metrics::names;
use service::token_bucket::{Rate, TokenBucket};
use wechatpay_v2::{ApiKey, CallOutcome, MchId};

use super::breaker::{Breaker, BreakerConfig, Generation, State};

/// Maximum wait for a rate-limit token. The caller holds a permit and the order's lease meanwhile:
/// with the call's own 8 s it leaves 20 of the lease's 30 s to the store.
pub(super) const TOKEN_WAIT_MAX: Duration = Duration::from_secs(2);
/// Permits are released as fast as calls end, which usually takes a fraction of a second.
const NO_PERMIT_PAUSE: Duration = Duration::from_secs(1);

/// Limits the calls of one merchant: its breaker, its rate limit, and the calls in progress.
#[derive(Debug)]
pub(super) struct MerchantLimiter {
    mch_id: MchId,
    state: Mutex<LimiterState>,
}

#[derive(Debug)]
struct LimiterState {
    /// The key whose calls the breaker has counted.
    key: ApiKey,
    breaker: Breaker,
    bucket: TokenBucket,
    calls_in_progress: u32,
    last_failure: String,
}

/// A call that is not made now. It counts as no attempt of its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Deferred {
    /// When to try again.
    pub(crate) pause: Duration,
    /// What WeChat last answered to calls of this merchant, where that is the reason.
    pub(crate) gateway_message: Option<String>,
}

/// A call in progress. Dropped without [`CallPermit::finish`], the call has no outcome.
#[derive(Debug)]
pub(super) struct CallPermit {
    limiter: Arc<MerchantLimiter>,
    generation: Generation,
    is_finished: bool,
}

impl Deferred {
    /// Too many orders of this merchant are in progress.
    pub(crate) fn no_permit(mch_id: &MchId) -> Self {
        Self::new(mch_id, "place", NO_PERMIT_PAUSE, None)
    }

    fn new(
        mch_id: &MchId,
        reason: &'static str,
        pause: Duration,
        gateway_message: Option<String>,
    ) -> Self {
        let mch_id = mch_id.to_string();
        metrics::counter!(names::GATEWAY_DEFERRED, "mch_id" => mch_id, "reason" => reason)
            .increment(1);
        Self { pause, gateway_message }
    }
}

impl MerchantLimiter {
    pub(super) fn new(mch_id: MchId, key: ApiKey, config: BreakerConfig) -> Self {
        let state = LimiterState {
            key,
            breaker: Breaker::new(config),
            bucket: TokenBucket::default(),
            calls_in_progress: 0,
            last_failure: String::new(),
        };
        Self { mch_id, state: Mutex::new(state) }
    }

    /// A new key closes the breaker: failures with the old key do not count for it.
    pub(super) fn set_key(&self, key: &ApiKey) {
        let mut state = self.state();
        if state.key != *key {
            state.key = key.clone();
            state.breaker.close();
        }
    }

    /// Resets the gauges of a merchant that was removed.
    pub(super) fn retire(&self) {
        self.state().breaker.close();
        self.update_gauges();
    }

    /// Takes a rate-limit token and returns how long to wait before using it. An open breaker takes
    /// no token.
    pub(super) fn reserve_token(&self, per_second: u32) -> Result<Duration, Deferred> {
        let mut state = self.state();
        let now = Instant::now();
        if let Some(pause) = state.breaker.open_for(now) {
            return Err(self.defer_until_closed(&state, pause));
        }
        let reserved = state.bucket.take(Rate::per_second(per_second), TOKEN_WAIT_MAX, now);
        reserved.map_err(|pause| Deferred::new(&self.mch_id, "rate", pause, None))
    }

    pub(super) fn begin_call(self: Arc<Self>) -> Result<CallPermit, Deferred> {
        let mut state = self.state();
        let generation = match state.breaker.acquire(Instant::now()) {
            Ok(generation) => generation,
            Err(pause) => return Err(self.defer_until_closed(&state, pause)),
        };
        state.calls_in_progress += 1;
        drop(state);
        self.update_gauges();
        Ok(CallPermit { limiter: self, generation, is_finished: false })
    }

    fn defer_until_closed(&self, state: &LimiterState, pause: Duration) -> Deferred {
        let message = format!("calls of this merchant fail at present: {}", state.last_failure);
        Deferred::new(&self.mch_id, "breaker", pause, Some(message))
    }

    /// How many calls could begin now: none while the breaker is open, one as a probe, else as many
    /// as would not wait too long for a token.
    pub(super) fn available_capacity(&self, per_second: u32) -> usize {
        let state = self.state();
        let now = Instant::now();
        if state.breaker.open_for(now).is_some() {
            return 0;
        }
        match state.breaker.state() {
            State::Closed { .. } => {
                state.bucket.available(Rate::per_second(per_second), TOKEN_WAIT_MAX, now)
            }
            State::Open { .. } | State::HalfOpen => 1,
        }
    }

    pub(super) fn update_gauges(&self) {
        let state = self.state();
        let breaker = match state.breaker.state() {
            State::Closed { .. } => 0.0,
            State::HalfOpen => 1.0,
            State::Open { .. } => 2.0,
        };
        let mch_id = self.mch_id.to_string();
        metrics::gauge!(names::GATEWAY_BREAKER_STATE, "mch_id" => mch_id.clone()).set(breaker);
        metrics::gauge!(names::GATEWAY_CALLS_UNDER_WAY, "mch_id" => mch_id)
            .set(f64::from(state.calls_in_progress));
    }

    /// Changes the state, logs when the breaker opens or closes, and updates the gauges.
    fn update(&self, change: impl FnOnce(&mut LimiterState)) {
        let mut state = self.state();
        let before = state.breaker.state();
        change(&mut state);
        let mch_id = &self.mch_id;
        match (before, state.breaker.state()) {
            (State::Closed { .. }, State::Open { .. }) => {
                tracing::warn!(
                    %mch_id,
                    gateway_message = state.last_failure,
                    "every call of this merchant fails; its calls pause. Check its key and account"
                );
            }
            (State::HalfOpen, State::Closed { .. }) => {
                tracing::info!(%mch_id, "calls of this merchant work again");
            }
            _ => {}
        }
        drop(state);
        self.update_gauges();
    }

    fn state(&self) -> MutexGuard<'_, LimiterState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CallPermit {
    pub(super) fn finish<T>(mut self, outcome: &CallOutcome<T>) {
        self.is_finished = true;
        let generation = self.generation;
        let failure = match outcome {
            CallOutcome::Refused(refused) if refused.affects_every_call() => {
                Some(refused.to_string())
            }
            CallOutcome::Unknown(unknown) => Some(unknown.to_string()),
            CallOutcome::Success(_) | CallOutcome::Refused(_) => None,
        };
        self.limiter.update(|state| match failure {
            None => state.breaker.record_success(generation),
            Some(failure) => {
                state.last_failure = failure;
                state.breaker.record_failure(generation, Instant::now());
            }
        });
    }
}

impl Drop for CallPermit {
    fn drop(&mut self) {
        let generation = self.generation;
        let is_finished = self.is_finished;
        self.limiter.update(|state| {
            state.calls_in_progress = state.calls_in_progress.saturating_sub(1);
            if !is_finished {
                state.breaker.record_dropped(generation, Instant::now());
            }
        });
    }
}
