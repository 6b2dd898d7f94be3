use std::time::{Duration, Instant};

use backoff::backoff::Backoff;
use backoff::{ExponentialBackoff, ExponentialBackoffBuilder};

#[cfg(test)]
mod tests;

/// While a probe is in progress. Most probes are answered in a fraction of this; the longest lasts
/// as long as a call.
const PROBE_PAUSE: Duration = Duration::from_secs(1);

/// Circuit breaker of one merchant's calls. Pure: the time is passed in.
///
/// It opens after failures in a row, lets one call through as a probe when its pause has ended, and
/// closes when the probe succeeds.
#[derive(Debug)]
pub(super) struct Breaker {
    state: State,
    /// Grows with every change of state: the outcome of a call counts only in the state in which
    /// the call began.
    generation: u64,
    config: BreakerConfig,
    pauses: ExponentialBackoff,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct BreakerConfig {
    /// Failures in a row that open it.
    pub(super) failures_max: u32,
    pub(super) pause_first: Duration,
    /// The longest pause, to which the jitter is added.
    pub(super) pause_max: Duration,
    /// The random share of a pause: it is shorter or longer by up to this share.
    pub(super) jitter: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Closed { failures: u32 },
    Open { until: Instant },
    HalfOpen,
}

/// The breaker's generation when a call began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Generation(u64);

impl Breaker {
    pub(super) fn new(config: BreakerConfig) -> Self {
        let pauses = ExponentialBackoffBuilder::new()
            .with_initial_interval(config.pause_first)
            .with_max_interval(config.pause_max)
            .with_randomization_factor(config.jitter)
            .with_multiplier(2.0)
            // The default gives up after 15 minutes; a key may be wrong for longer.
            .with_max_elapsed_time(None)
            .build();
        Self { state: State::Closed { failures: 0 }, generation: 0, config, pauses }
    }

    pub(super) fn state(&self) -> State {
        self.state
    }

    /// How long no call may begin. `None`: one may begin now.
    pub(super) fn open_for(&self, now: Instant) -> Option<Duration> {
        let pause = match self.state {
            State::Closed { .. } => return None,
            State::Open { until } => until.saturating_duration_since(now),
            State::HalfOpen => PROBE_PAUSE,
        };
        (!pause.is_zero()).then_some(pause)
    }

    /// Lets a call begin, as the probe if the breaker is open; or returns how long to wait.
    pub(super) fn acquire(&mut self, now: Instant) -> Result<Generation, Duration> {
        if let Some(pause) = self.open_for(now) {
            return Err(pause);
        }
        if matches!(self.state, State::Open { .. }) {
            self.transition(State::HalfOpen);
        }
        Ok(Generation(self.generation))
    }

    /// The call got an answer that other calls of this merchant can get, too.
    pub(super) fn record_success(&mut self, generation: Generation) {
        if generation.0 != self.generation {
            return;
        }
        match self.state {
            State::Closed { .. } => self.state = State::Closed { failures: 0 },
            State::HalfOpen | State::Open { .. } => self.close(),
        }
    }

    /// The call failed as any other call of this merchant would.
    pub(super) fn record_failure(&mut self, generation: Generation, now: Instant) {
        if generation.0 != self.generation {
            return;
        }
        match self.state {
            State::Closed { failures } if failures + 1 < self.config.failures_max => {
                self.state = State::Closed { failures: failures + 1 };
            }
            State::Closed { .. } | State::HalfOpen | State::Open { .. } => {
                let pause = self.pauses.next_backoff().unwrap_or(self.config.pause_max);
                self.transition(State::Open { until: now + pause });
            }
        }
    }

    /// The call ended without an outcome. A probe counts as failed: the breaker must not stay half
    /// open for ever.
    pub(super) fn record_dropped(&mut self, generation: Generation, now: Instant) {
        if self.state == State::HalfOpen {
            self.record_failure(generation, now);
        }
    }

    /// Closes, and ignores the outcomes of all calls that began before.
    pub(super) fn close(&mut self) {
        self.pauses.reset();
        self.transition(State::Closed { failures: 0 });
    }

    fn transition(&mut self, state: State) {
        self.state = state;
        self.generation += 1;
    }
}
