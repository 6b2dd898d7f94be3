//! How long to wait before trying again.
//!
//! The crate `backoff` serves as a delay policy and nothing more: sleeping and giving up on a
//! signal are done here with tokio, so replacing the crate is a matter of this one file.

use std::time::Duration;

use backoff::{ExponentialBackoff, ExponentialBackoffBuilder, backoff::Backoff};

const FIRST: Duration = Duration::from_millis(200);
/// Before jitter, which adds or takes up to half.
const LONGEST: Duration = Duration::from_secs(5);

/// Growing delays with jitter, without end.
pub(crate) struct Delays(ExponentialBackoff);

impl Delays {
    /// 200 ms, growing to 5 s.
    pub(crate) fn new() -> Self {
        let policy = ExponentialBackoffBuilder::new()
            .with_initial_interval(FIRST)
            .with_max_interval(LONGEST)
            // The default gives up after 15 minutes; a broker may be away for longer.
            .with_max_elapsed_time(None)
            .build();
        Self(policy)
    }

    pub(crate) fn next(&mut self) -> Duration {
        self.0.next_backoff().unwrap_or(LONGEST)
    }

    /// Starts over, provided that what has just ended had lasted: something that breaks as soon
    /// as it stands must not be rebuilt five times a second.
    pub(crate) fn reset_after(&mut self, lasted: Duration) {
        if lasted >= LONGEST {
            self.0.reset();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grow_within_bounds_and_never_end() {
        let mut delays = Delays::new();
        let first = delays.next();
        assert!(first >= FIRST / 2 && first <= FIRST * 3 / 2 + Duration::from_millis(1));
        for _ in 0..1_000 {
            assert!(delays.next() <= LONGEST * 3 / 2 + Duration::from_millis(1));
        }
        delays.reset_after(FIRST);
        assert!(delays.next() >= LONGEST / 2);
        delays.reset_after(LONGEST);
        assert!(delays.next() <= FIRST * 3 / 2 + Duration::from_millis(1));
    }
}
