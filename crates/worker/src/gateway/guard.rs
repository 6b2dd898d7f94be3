//! In front of one merchant's calls: its breaker, its rate, and what is under way.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use wechatpay_v2::{ApiKey, MchId, Verdict};

use super::breaker::{Breaker, Era, Manner, State};
use super::rate::Rate;

/// So long a call waits for its turn, in its caller's place and under its lease: with the call's
/// own 8 s it leaves 20 of the lease's 30 s to the store.
pub(super) const TURN_WITHIN: Duration = Duration::from_secs(2);
/// Places become free as fast as calls end, which is usually a fraction of a second.
const PLACE_PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Guard {
    mch_id: MchId,
    inside: Mutex<Inside>,
}

#[derive(Debug)]
struct Inside {
    /// The key that the breaker knows about.
    key: ApiKey,
    breaker: Breaker,
    rate: Rate,
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
pub(super) struct Pass {
    guard: Arc<Guard>,
    era: Era,
    ended: bool,
}

impl Deferred {
    /// Too many orders of this merchant are under way.
    pub(crate) fn for_a_place(mch_id: &MchId) -> Self {
        Self::new(mch_id, "place", PLACE_PAUSE, None)
    }

    fn new(mch_id: &MchId, reason: &'static str, pause: Duration, said: Option<String>) -> Self {
        let mch_id = mch_id.to_string();
        metrics::counter!("wxpay_gateway_deferred_total", "mch_id" => mch_id, "reason" => reason)
            .increment(1);
        Self { pause, gateway_message: said }
    }
}

impl Guard {
    pub(super) fn new(mch_id: MchId, key: ApiKey, manner: Manner) -> Self {
        let inside = Inside {
            key,
            breaker: Breaker::new(manner),
            rate: Rate::default(),
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
        self.show();
    }

    /// How long to wait for the turn. Whoever meets an open breaker takes nobody's turn.
    pub(super) fn turn(&self, per_second: u32) -> Result<Duration, Deferred> {
        let (mut inside, now) = (self.inside(), Instant::now());
        if let Some(pause) = inside.breaker.shut(now) {
            return Err(self.shut(&inside, pause));
        }
        let turn = inside.rate.take(per_second, TURN_WITHIN, now);
        turn.map_err(|pause| Deferred::new(&self.mch_id, "rate", pause, None))
    }

    pub(super) fn enter(self: Arc<Self>) -> Result<Pass, Deferred> {
        let mut inside = self.inside();
        let era = match inside.breaker.admit(Instant::now()) {
            Ok(era) => era,
            Err(pause) => return Err(self.shut(&inside, pause)),
        };
        inside.under_way += 1;
        drop(inside);
        self.show();
        Ok(Pass { guard: self, era, ended: false })
    }

    fn shut(&self, inside: &Inside, pause: Duration) -> Deferred {
        let said = format!("calls of this merchant fail at present: {}", inside.last_failure);
        Deferred::new(&self.mch_id, "breaker", pause, Some(said))
    }

    /// How many orders are worth looking at now: none while calls pause, one to find out whether
    /// they work again, else as many as would not wait too long for their turn.
    pub(super) fn room(&self, per_second: u32) -> usize {
        let (inside, now) = (self.inside(), Instant::now());
        match (inside.breaker.state(), inside.breaker.shut(now)) {
            (_, Some(_)) => 0,
            (State::Closed { .. }, None) => inside.rate.left(per_second, TURN_WITHIN, now),
            (State::Open { .. } | State::HalfOpen, None) => 1,
        }
    }

    pub(super) fn show(&self) {
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
    fn learn(&self, how: impl FnOnce(&mut Inside)) {
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
        self.show();
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass {
    /// The call has ended.
    pub(super) fn end<T>(mut self, verdict: &Verdict<T>) {
        self.ended = true;
        let failure = match verdict {
            Verdict::Yes(_) => None,
            Verdict::No(no) if no.meets_every_call() => {
                Some(format!("{}: {}", no.err_code, no.err_code_des))
            }
            Verdict::No(_) => None,
            Verdict::Unknown(why) => Some(why.to_string()),
        };
        let era = self.era;
        self.guard.learn(|inside| match failure {
            None => inside.breaker.worked(era),
            Some(failure) => {
                inside.last_failure = failure;
                inside.breaker.failed(era, Instant::now());
            }
        });
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let (era, ended) = (self.era, self.ended);
        self.guard.learn(|inside| {
            inside.under_way = inside.under_way.saturating_sub(1);
            if !ended {
                inside.breaker.dropped(era, Instant::now());
            }
        });
    }
}
