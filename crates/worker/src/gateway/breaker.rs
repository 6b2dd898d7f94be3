//! Whether the calls of one merchant are worth making: pure, the time is passed in.

use std::time::{Duration, Instant};

use backoff::{ExponentialBackoff, ExponentialBackoffBuilder, backoff::Backoff};

/// While a probe is under way. Most probes are answered in a fraction of this; the longest lasts
/// as long as a call.
const PROBE_PAUSE: Duration = Duration::from_secs(1);

/// Opens after failures in a row, lets one call through when its pause has ended, and closes when
/// that one works.
#[derive(Debug)]
pub(super) struct Breaker {
    state: State,
    /// Rises with every change of state: what a call brings counts only in the state that let it
    /// through.
    generation: u64,
    config: BreakerConfig,
    pauses: ExponentialBackoff,
}

/// When it opens, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct BreakerConfig {
    /// Failures in a row.
    pub(super) failures_max: u32,
    /// The first pause; it grows from there.
    pub(super) pause_first: Duration,
    /// The longest, before jitter.
    pub(super) pause_max: Duration,
    /// The share of jitter in a pause: it lasts so much less, or so much more.
    pub(super) jitter: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Closed { failures: u32 },
    Open { until: Instant },
    HalfOpen,
}

/// What a call that is let through shows again at its end.
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

    /// How long a call would have to wait, if it would.
    pub(super) fn open_for(&self, now: Instant) -> Option<Duration> {
        match self.state {
            State::Closed { .. } => None,
            State::Open { until } => Some(until.saturating_duration_since(now)),
            State::HalfOpen => Some(PROBE_PAUSE),
        }
        .filter(|pause| !pause.is_zero())
    }

    /// Lets a call through, which may be the probe; or says how long to wait.
    pub(super) fn acquire(&mut self, now: Instant) -> Result<Generation, Duration> {
        if let Some(pause) = self.open_for(now) {
            return Err(pause);
        }
        if matches!(self.state, State::Open { .. }) {
            self.transition(State::HalfOpen);
        }
        Ok(Generation(self.generation))
    }

    /// The call had an answer that another call of this merchant could have, too.
    pub(super) fn record_success(&mut self, generation: Generation) {
        match self.state {
            _ if generation.0 != self.generation => {}
            State::Closed { .. } => self.state = State::Closed { failures: 0 },
            State::HalfOpen | State::Open { .. } => self.close(),
        }
    }

    /// The call failed as any other call of this merchant would.
    pub(super) fn record_failure(&mut self, generation: Generation, now: Instant) {
        match self.state {
            _ if generation.0 != self.generation => {}
            State::Closed { failures } if failures + 1 < self.config.failures_max => {
                self.state = State::Closed { failures: failures + 1 };
            }
            State::Closed { .. } | State::HalfOpen | State::Open { .. } => {
                let pause = self.pauses.next_backoff().unwrap_or(self.config.pause_max);
                self.transition(State::Open { until: now + pause });
            }
        }
    }

    /// The call ended without anybody learning how. It says nothing, but a probe must not stand
    /// half open for ever.
    pub(super) fn record_dropped(&mut self, generation: Generation, now: Instant) {
        if self.state == State::HalfOpen {
            self.record_failure(generation, now);
        }
    }

    /// Starts over; what earlier calls bring says nothing any more.
    pub(super) fn close(&mut self) {
        self.pauses.reset();
        self.transition(State::Closed { failures: 0 });
    }

    fn transition(&mut self, state: State) {
        self.state = state;
        self.generation += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const CONFIG: BreakerConfig = BreakerConfig {
        failures_max: 3,
        pause_first: SECOND,
        pause_max: Duration::from_secs(4),
        jitter: 0.0,
    };

    #[derive(Clone, Copy, Debug)]
    enum Do {
        Admit,
        Refuse(u64),
        Worked,
        Failed,
        Dropped,
        /// The call that was let through first, long ago.
        FirstWorked,
        FirstFailed,
        Wait(u64),
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Is {
        Closed(u32),
        Open,
        HalfOpen,
    }

    /// Plays a story and compares the state after each step.
    fn play(story: &[(Do, Is)]) {
        let (mut breaker, mut now) = (Breaker::new(CONFIG), Instant::now());
        let (first, mut last) = (Generation(0), Generation(0));
        for (step, (what, is)) in story.iter().enumerate() {
            match what {
                Do::Admit => last = breaker.acquire(now).unwrap_or_else(|_| panic!("step {step}")),
                Do::Refuse(ms) => {
                    assert_eq!(
                        breaker.acquire(now),
                        Err(Duration::from_millis(*ms)),
                        "step {step}"
                    );
                }
                Do::Worked => breaker.record_success(last),
                Do::Failed => breaker.record_failure(last, now),
                Do::Dropped => breaker.record_dropped(last, now),
                Do::FirstWorked => breaker.record_success(first),
                Do::FirstFailed => breaker.record_failure(first, now),
                Do::Wait(ms) => now += Duration::from_millis(*ms),
            }
            let state = match breaker.state() {
                State::Closed { failures } => Is::Closed(failures),
                State::Open { .. } => Is::Open,
                State::HalfOpen => Is::HalfOpen,
            };
            assert_eq!(state, *is, "step {step}: {what:?}");
        }
    }

    #[test]
    fn opens_only_after_failures_in_a_row() {
        play(&[
            (Do::Admit, Is::Closed(0)),
            (Do::Failed, Is::Closed(1)),
            (Do::Failed, Is::Closed(2)),
            (Do::Worked, Is::Closed(0)),
            (Do::Failed, Is::Closed(1)),
            (Do::Dropped, Is::Closed(1)),
            (Do::Failed, Is::Closed(2)),
            (Do::Failed, Is::Open),
            (Do::Refuse(1000), Is::Open),
        ]);
    }

    #[test]
    fn one_probe_at_a_time_closes_it_or_opens_it_for_longer() {
        play(&[
            (Do::Failed, Is::Closed(1)),
            (Do::Failed, Is::Closed(2)),
            (Do::Failed, Is::Open),
            (Do::Wait(999), Is::Open),
            (Do::Refuse(1), Is::Open),
            (Do::Wait(1), Is::Open),
            (Do::Admit, Is::HalfOpen),
            (Do::Refuse(1000), Is::HalfOpen),
            (Do::Failed, Is::Open),
            (Do::Refuse(2000), Is::Open),
            (Do::Wait(2000), Is::Open),
            (Do::Admit, Is::HalfOpen),
            (Do::Failed, Is::Open),
            (Do::Refuse(4000), Is::Open),
            (Do::Wait(4000), Is::Open),
            (Do::Admit, Is::HalfOpen),
            (Do::Failed, Is::Open),
            (Do::Refuse(4000), Is::Open),
            (Do::Wait(4000), Is::Open),
            (Do::Admit, Is::HalfOpen),
            (Do::Worked, Is::Closed(0)),
            (Do::Admit, Is::Closed(0)),
            (Do::Failed, Is::Closed(1)),
            (Do::Failed, Is::Closed(2)),
            (Do::Failed, Is::Open),
            (Do::Refuse(1000), Is::Open),
        ]);
    }

    #[test]
    fn a_probe_that_vanishes_leaves_it_open_and_not_half_open() {
        play(&[
            (Do::Failed, Is::Closed(1)),
            (Do::Failed, Is::Closed(2)),
            (Do::Failed, Is::Open),
            (Do::Wait(1000), Is::Open),
            (Do::Admit, Is::HalfOpen),
            (Do::Dropped, Is::Open),
            (Do::Refuse(2000), Is::Open),
        ]);
    }

    #[test]
    fn what_was_let_through_before_says_nothing_of_now() {
        play(&[
            (Do::Failed, Is::Closed(1)),
            (Do::Failed, Is::Closed(2)),
            (Do::Failed, Is::Open),
            (Do::FirstWorked, Is::Open),
            (Do::FirstFailed, Is::Open),
            (Do::Wait(1000), Is::Open),
            (Do::Admit, Is::HalfOpen),
            (Do::FirstFailed, Is::HalfOpen),
            (Do::FirstWorked, Is::HalfOpen),
            (Do::Worked, Is::Closed(0)),
            (Do::FirstFailed, Is::Closed(0)),
        ]);
    }

    #[test]
    fn chance_stays_within_its_share() {
        for _ in 0..100 {
            let mut breaker =
                Breaker::new(BreakerConfig { failures_max: 1, jitter: 0.5, ..CONFIG });
            let now = Instant::now();
            let generation = breaker.acquire(now).unwrap();
            breaker.record_failure(generation, now);
            let pause = breaker.open_for(now).unwrap();
            assert!(pause >= SECOND / 2 && pause <= SECOND * 3 / 2 + Duration::from_millis(1));
        }
    }
}
