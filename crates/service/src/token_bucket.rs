//! How often something may happen: pure, the time is passed in.

use std::time::{Duration, Instant};

/// A number of tokens per period. A bucket that was idle has one period's worth.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    period: Duration,
    /// The time in which one token comes.
    interval: Duration,
}

impl Rate {
    /// At least one token.
    #[must_use]
    pub fn new(tokens: u32, period: Duration) -> Self {
        Self { period, interval: period / tokens.max(1) }
    }

    #[must_use]
    pub fn per_second(tokens: u32) -> Self {
        Self::new(tokens, Duration::from_secs(1))
    }
}

/// A bucket that fills evenly. Kept as the instant at which it is full again.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokenBucket {
    full_at: Option<Instant>,
}

impl TokenBucket {
    /// Takes a token and returns how long to wait before using it, at most `wait_max`. Otherwise
    /// takes none and returns how long the wait would have been.
    pub fn take(
        &mut self,
        rate: Rate,
        wait_max: Duration,
        now: Instant,
    ) -> Result<Duration, Duration> {
        let full_in = self.full_in(now);
        let wait = full_in.saturating_sub(rate.period - rate.interval);
        if wait > wait_max {
            return Err(wait);
        }
        self.full_at = Some(now + full_in + rate.interval);
        Ok(wait)
    }

    /// Takes a token if there is one now.
    pub fn try_take(&mut self, rate: Rate, now: Instant) -> bool {
        self.take(rate, Duration::ZERO, now).is_ok()
    }

    /// How many tokens could be taken now, each with a wait of at most `wait_max`.
    #[must_use]
    pub fn available(&self, rate: Rate, wait_max: Duration, now: Instant) -> usize {
        let time = (rate.period + wait_max).saturating_sub(self.full_in(now));
        let tokens = time.as_nanos() / rate.interval.as_nanos();
        usize::try_from(tokens).unwrap_or(usize::MAX)
    }

    fn full_in(&self, now: Instant) -> Duration {
        self.full_at.map_or(Duration::ZERO, |full_at| full_at.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn one_periods_worth_goes_at_once_and_the_rest_is_spread() {
        let mut bucket = TokenBucket::default();
        let now = Instant::now();
        let rate = Rate::per_second(10);
        let mut take = || bucket.take(rate, 300 * MS, now);
        for _ in 0..10 {
            assert_eq!(take(), Ok(Duration::ZERO));
        }
        assert_eq!([take(), take(), take()], [Ok(100 * MS), Ok(200 * MS), Ok(300 * MS)]);
        // A refusal takes nothing and makes no later wait longer.
        assert_eq!([take(), take()], [Err(400 * MS), Err(400 * MS)]);
        assert_eq!(bucket.take(rate, 300 * MS, now + 100 * MS), Ok(300 * MS));
    }

    #[test]
    fn what_is_available_can_be_taken_and_no_more() {
        let mut bucket = TokenBucket::default();
        let now = Instant::now();
        let rate = Rate::per_second(10);
        for available in (0..=13).rev() {
            assert_eq!(bucket.available(rate, 300 * MS, now), available);
            assert_eq!(bucket.take(rate, 300 * MS, now).is_ok(), available > 0);
        }
        assert_eq!(bucket.available(rate, 300 * MS, now + 200 * MS), 2);
    }

    #[test]
    fn bucket_fills_up_and_never_over() {
        let mut bucket = TokenBucket::default();
        let now = Instant::now();
        let mut taken_at_once = |now| {
            let mut count = 0;
            while bucket.try_take(Rate::per_second(4), now) {
                count += 1;
            }
            count
        };
        assert_eq!(taken_at_once(now), 4);
        assert_eq!(taken_at_once(now + 500 * MS), 2);
        assert_eq!(taken_at_once(now + 3600 * 1000 * MS), 4);
    }

    #[test]
    fn one_a_second_is_one_a_second() {
        let mut bucket = TokenBucket::default();
        let now = Instant::now();
        let mut take = || bucket.take(Rate::per_second(1), 2000 * MS, now);
        assert_eq!([take(), take(), take()], [Ok(Duration::ZERO), Ok(1000 * MS), Ok(2000 * MS)]);
        assert_eq!(take(), Err(3000 * MS));
    }

    #[test]
    fn period_may_be_longer_than_a_second() {
        let mut bucket = TokenBucket::default();
        let now = Instant::now();
        let rate = Rate::new(60, Duration::from_secs(3600));
        assert_eq!((0..200).filter(|_| bucket.try_take(rate, now)).count(), 60);
        assert!(!bucket.try_take(rate, now + Duration::from_secs(59)));
        assert!(bucket.try_take(rate, now + Duration::from_secs(60)));
    }
}
