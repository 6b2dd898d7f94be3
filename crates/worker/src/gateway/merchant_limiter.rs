use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use service::metrics::names;
use service::token_bucket::{Rate, TokenBucket};
use wechatpay_v2::{ApiKey, CallOutcome, MchId};

use super::adaptive_rate::AdaptiveRate;
use super::breaker::{Breaker, BreakerConfig, Generation, State};

/// Calls end usually in a fraction of a second, and others begin.
const NO_TURN_PAUSE: Duration = Duration::from_secs(1);

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
    /// Of all workers together, as far as this one can tell.
    rate: AdaptiveRate,
    /// The merchant's `requests_per_second`, which the rate does not exceed.
    rate_max: Option<u32>,
    /// Workers that share the rate, this one included.
    workers: u32,
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

/// Why a call does not begin now.
#[derive(Debug)]
pub(super) enum NotNow {
    /// The rate allows it after this time.
    Rate(Duration),
    Breaker(Deferred),
}

/// A call in progress. Dropped without [`CallPermit::finish`], the call has no outcome.
#[derive(Debug)]
pub(super) struct CallPermit {
    limiter: Arc<MerchantLimiter>,
    generation: Generation,
    is_finished: bool,
}

impl Deferred {
    /// The call has waited long enough for its turn.
    pub(super) fn no_turn(mch_id: &MchId, limiter: &MerchantLimiter) -> Self {
        let reason = if limiter.is_rate_used_up() { "rate" } else { "place" };
        Self::new(mch_id, reason, NO_TURN_PAUSE, None)
    }

    /// The worker stops; another one makes the call.
    pub(super) fn stopping() -> Self {
        Self { pause: Duration::ZERO, gateway_message: None }
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
            rate: AdaptiveRate::new(),
            rate_max: None,
            workers: 1,
            bucket: TokenBucket::default(),
            calls_in_progress: 0,
            last_failure: String::new(),
        };
        Self { mch_id, state: Mutex::new(state) }
    }

    /// Takes over what is configured now. A new key closes the breaker: failures with the old key do
    /// not count for it.
    pub(super) fn configure(&self, key: &ApiKey, rate_max: Option<u32>, workers: u32) {
        let mut state = self.state();
        state.rate_max = rate_max;
        state.workers = workers;
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

    /// Defers while the breaker is open.
    pub(super) fn check_breaker(&self, now: Instant) -> Result<(), Deferred> {
        let state = self.state();
        match state.breaker.open_for(now) {
            Some(pause) => Err(self.defer_until_closed(&state, pause)),
            None => Ok(()),
        }
    }

    /// Begins a call if the breaker and the rate allow it now.
    pub(super) fn begin_call(self: &Arc<Self>, now: Instant) -> Result<CallPermit, NotNow> {
        let mut guard = self.state();
        let state = &mut *guard;
        if let Some(pause) = state.breaker.open_for(now) {
            return Err(NotNow::Breaker(self.defer_until_closed(state, pause)));
        }
        let rate = Rate::per_second(state.per_second(now));
        if let Err(wait) = state.bucket.take(rate, Duration::ZERO, now) {
            state.rate.record_delay();
            return Err(NotNow::Rate(wait));
        }
        let generation = match state.breaker.acquire(now) {
            Ok(generation) => generation,
            Err(pause) => return Err(NotNow::Breaker(self.defer_until_closed(state, pause))),
        };
        state.calls_in_progress += 1;
        drop(guard);
        self.update_gauges();
        Ok(CallPermit { limiter: Arc::clone(self), generation, is_finished: false })
    }

    /// The rate in force, in calls per second of this worker.
    pub(super) fn per_second(&self) -> u32 {
        self.state().per_second(Instant::now())
    }

    fn is_rate_used_up(&self) -> bool {
        self.available(Duration::ZERO) == 0
    }

    fn defer_until_closed(&self, state: &LimiterState, pause: Duration) -> Deferred {
        let message = format!("calls of this merchant fail at present: {}", state.last_failure);
        Deferred::new(&self.mch_id, "breaker", pause, Some(message))
    }

    /// How many calls could begin within `wait`: none while the breaker is open, one as a probe, else
    /// as many as the rate allows.
    pub(super) fn available(&self, wait: Duration) -> usize {
        let mut guard = self.state();
        let state = &mut *guard;
        let now = Instant::now();
        if state.breaker.open_for(now).is_some() {
            return 0;
        }
        match state.breaker.state() {
            State::Closed { .. } => {
                let rate = Rate::per_second(state.per_second(now));
                state.bucket.available(rate, wait, now)
            }
            State::Open { .. } | State::HalfOpen => 1,
        }
    }

    pub(super) fn update_gauges(&self) {
        let mut state = self.state();
        let per_second = state.per_second(Instant::now());
        let breaker = match state.breaker.state() {
            State::Closed { .. } => 0.0,
            State::HalfOpen => 1.0,
            State::Open { .. } => 2.0,
        };
        let mch_id = self.mch_id.to_string();
        metrics::gauge!(names::GATEWAY_BREAKER_STATE, "mch_id" => mch_id.clone()).set(breaker);
        metrics::gauge!(names::GATEWAY_RATE, "mch_id" => mch_id.clone()).set(f64::from(per_second));
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

impl LimiterState {
    /// This worker's part of the rate, at least one call per second.
    fn per_second(&mut self, now: Instant) -> u32 {
        (self.rate.per_second(self.rate_max, now) / self.workers).max(1)
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
        if let CallOutcome::Refused(refused) = outcome
            && refused.is_too_frequent()
        {
            let mut state = self.limiter.state();
            let rate_max = state.rate_max;
            state.rate.record_refusal(rate_max, Instant::now());
        }
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
