//! From a handler's outcome to what is done with the delivery: pure.

use std::time::Duration;

use crate::consume::handler::Outcome;
use crate::topology::{DelayStep, RETRY_DELAYS};

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Disposition {
    Ack,
    /// A copy into this delay queue, as this attempt.
    Delay {
        step: DelayStep,
        attempt: u32,
        reason: Option<String>,
    },
    Park {
        reason: String,
    },
}

impl Disposition {
    /// `attempt` is 1 for the first.
    pub(super) fn of(outcome: Outcome, attempt: u32, attempts_max: u32) -> Self {
        match outcome {
            Outcome::Done => Self::Ack,
            Outcome::Snooze(delay) => {
                Self::Delay { step: shortest_step_of_at_least(delay), attempt, reason: None }
            }
            Outcome::Retry { reason } if attempt < attempts_max => Self::Delay {
                step: step_after(attempt),
                attempt: attempt + 1,
                reason: Some(reason),
            },
            Outcome::Retry { reason } | Outcome::Park { reason } => Self::Park { reason },
        }
    }

    pub(super) const fn label(&self) -> &'static str {
        match self {
            Self::Ack => "ack",
            Self::Delay { reason: None, .. } => "snooze",
            Self::Delay { reason: Some(_), .. } => "retry",
            Self::Park { .. } => "park",
        }
    }
}

const LONGEST: DelayStep = RETRY_DELAYS[RETRY_DELAYS.len() - 1];

fn shortest_step_of_at_least(delay: Duration) -> DelayStep {
    RETRY_DELAYS.into_iter().find(|step| step.delay >= delay).unwrap_or(LONGEST)
}

/// One step longer for each attempt that failed.
fn step_after(attempt: u32) -> DelayStep {
    let failed_before = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
    RETRY_DELAYS.get(failed_before).copied().unwrap_or(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snoozed(seconds: u64) -> (&'static str, u32) {
        match Disposition::of(Outcome::Snooze(Duration::from_secs(seconds)), 3, 5) {
            Disposition::Delay { step, attempt, reason: None } => (step.name, attempt),
            other => panic!("{other:?}"),
        }
    }

    fn retried(attempt: u32, attempts_max: u32) -> Disposition {
        Disposition::of(Outcome::Retry { reason: "r".into() }, attempt, attempts_max)
    }

    #[test]
    fn snooze_rounds_up_and_costs_no_attempt() {
        let cases = [(0, "5s"), (5, "5s"), (6, "30s"), (30, "30s"), (61, "2m"), (121, "10m")];
        for (seconds, step) in cases {
            assert_eq!(snoozed(seconds), (step, 3), "{seconds}");
        }
        assert_eq!(snoozed(86_400), ("10m", 3));
    }

    #[test]
    fn retry_delays_grow_until_parked() {
        for (attempt, step) in [(1, "5s"), (2, "30s"), (3, "2m"), (4, "10m"), (9, "10m")] {
            match retried(attempt, 10) {
                Disposition::Delay { step: found, attempt: next, reason: Some(_) } => {
                    assert_eq!((found.name, next), (step, attempt + 1));
                }
                other => panic!("{other:?}"),
            }
        }
        for attempt in [10, 11, u32::MAX] {
            assert_eq!(retried(attempt, 10), Disposition::Park { reason: "r".into() });
        }
    }
}
