//! How many calls of one merchant may begin in a second: pure, the time is passed in.

use std::time::{Duration, Instant};

/// What has been idle may send a second's worth at once.
const BURST: Duration = Duration::from_secs(1);

/// A bucket of calls that fills evenly. Kept as the instant at which it will be full again.
#[derive(Debug, Default)]
pub(super) struct TokenBucket {
    full_at: Option<Instant>,
}

impl TokenBucket {
    /// Takes a call out of the bucket and says how long to wait before making it, at most
    /// `wait_max`; or takes none, and says how long the wait would have been.
    pub(super) fn take(
        &mut self,
        per_second: u32,
        wait_max: Duration,
        now: Instant,
    ) -> Result<Duration, Duration> {
        let each = each(per_second);
        let full_in = self.full_in(now);
        let wait = full_in.saturating_sub(BURST - each);
        if wait > wait_max {
            return Err(wait);
        }
        self.full_at = Some(now + full_in + each);
        Ok(wait)
    }

    /// How many calls could be taken now.
    pub(super) fn left(&self, per_second: u32, wait_max: Duration, now: Instant) -> usize {
        let each = each(per_second);
        let left =
            (BURST + wait_max).saturating_sub(self.full_in(now)).as_nanos() / each.as_nanos();
        usize::try_from(left).unwrap_or(usize::MAX)
    }

    fn full_in(&self, now: Instant) -> Duration {
        self.full_at.map_or(Duration::ZERO, |full_at| full_at.saturating_duration_since(now))
    }
}

fn each(per_second: u32) -> Duration {
    Duration::from_secs(1) / per_second.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_seconds_worth_goes_at_once_and_the_rest_is_spread() {
        let (mut rate, now) = (TokenBucket::default(), Instant::now());
        let mut take = || rate.take(10, 300 * MS, now);
        for _ in 0..10 {
            assert_eq!(take(), Ok(Duration::ZERO));
        }
        assert_eq!([take(), take(), take()], [Ok(100 * MS), Ok(200 * MS), Ok(300 * MS)]);
        // Whoever is refused takes nothing, and makes nobody's wait longer.
        assert_eq!([take(), take()], [Err(400 * MS), Err(400 * MS)]);
        assert_eq!(rate.take(10, 300 * MS, now + 100 * MS), Ok(300 * MS));
    }

    #[test]
    fn what_is_left_can_be_taken_and_no_more() {
        let (mut rate, now) = (TokenBucket::default(), Instant::now());
        for left in (0..=13).rev() {
            assert_eq!(rate.left(10, 300 * MS, now), left);
            assert_eq!(rate.take(10, 300 * MS, now).is_ok(), left > 0);
        }
        assert_eq!(rate.left(10, 300 * MS, now + 200 * MS), 2);
    }

    #[test]
    fn it_fills_up_and_never_over() {
        let (mut rate, now) = (TokenBucket::default(), Instant::now());
        let mut at_once = |now| {
            let mut count = 0;
            while rate.take(4, Duration::ZERO, now).is_ok() {
                count += 1;
            }
            count
        };
        assert_eq!(at_once(now), 4);
        assert_eq!(at_once(now + 500 * MS), 2);
        assert_eq!(at_once(now + 3600 * 1000 * MS), 4);
    }

    #[test]
    fn one_a_second_is_one_a_second() {
        let (mut rate, now) = (TokenBucket::default(), Instant::now());
        let mut take = || rate.take(1, 2000 * MS, now);
        assert_eq!([take(), take(), take()], [Ok(Duration::ZERO), Ok(1000 * MS), Ok(2000 * MS)]);
        assert_eq!(take(), Err(3000 * MS));
    }
}
