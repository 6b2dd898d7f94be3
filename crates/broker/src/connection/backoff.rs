//! How long to wait before the next attempt to connect.
//!
//! The crate `backoff` is only the delay policy; callers sleep with tokio. Replacing the crate
//! touches this file alone.

use std::time::Duration;

use backoff::backoff::Backoff as _;
use backoff::{ExponentialBackoff, ExponentialBackoffBuilder};

const FIRST: Duration = Duration::from_millis(200);
/// Before jitter, which adds or takes up to half.
const LONGEST: Duration = Duration::from_secs(5);

/// Growing delays with jitter, without end.
pub(crate) struct Backoff(ExponentialBackoff);

impl Backoff {
    pub(crate) fn new() -> Self {
        let policy = ExponentialBackoffBuilder::new()
            .with_initial_interval(FIRST)
            .with_max_interval(LONGEST)
            // The default gives up after 15 minutes; a broker may be down for longer.
            .with_max_elapsed_time(None)
            .build();
        Self(policy)
    }

    pub(crate) fn next(&mut self) -> Duration {
        self.0.next_backoff().unwrap_or(LONGEST)
    }

    /// Starts over if what has just ended lasted: a connection that breaks at once must not be made
    /// again five times a second.
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
    fn delays_grow_within_bounds_without_end() {
        let mut backoff = Backoff::new();
        let first = backoff.next();
        assert!(first >= FIRST / 2 && first <= FIRST * 3 / 2 + Duration::from_millis(1));
        for _ in 0..1_000 {
            assert!(backoff.next() <= LONGEST * 3 / 2 + Duration::from_millis(1));
        }
        backoff.reset_after(FIRST);
        assert!(backoff.next() >= LONGEST / 2);
        backoff.reset_after(LONGEST);
        assert!(backoff.next() <= FIRST * 3 / 2 + Duration::from_millis(1));
    }
}
