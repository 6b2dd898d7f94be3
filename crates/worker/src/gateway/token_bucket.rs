use std::time::{Duration, Instant};

/// After an idle second, a second's worth of calls may begin at once.
const BURST: Duration = Duration::from_secs(1);

/// Limits how many calls of one merchant begin in a second. Pure: the time is passed in.
///
/// Stored as the instant at which the bucket will be full again.
#[derive(Debug, Default)]
pub(super) struct TokenBucket {
    full_at: Option<Instant>,
}

impl TokenBucket {
    /// Takes a token and returns how long to wait before using it, at most `wait_max`. Otherwise
    /// takes none, and the error is how long the wait would have been.
    pub(super) fn reserve(
        &mut self,
        per_second: u32,
        wait_max: Duration,
        now: Instant,
    ) -> Result<Duration, Duration> {
        let interval = interval(per_second);
        let full_in = self.full_in(now);
        let wait = full_in.saturating_sub(BURST - interval);
        if wait > wait_max {
            return Err(wait);
        }
        self.full_at = Some(now + full_in + interval);
        Ok(wait)
    }

    /// How many tokens could be reserved now.
    pub(super) fn available(&self, per_second: u32, wait_max: Duration, now: Instant) -> usize {
        let interval = interval(per_second);
        let free = (BURST + wait_max).saturating_sub(self.full_in(now));
        usize::try_from(free.as_nanos() / interval.as_nanos()).unwrap_or(usize::MAX)
    }

    fn full_in(&self, now: Instant) -> Duration {
        self.full_at.map_or(Duration::ZERO, |full_at| full_at.saturating_duration_since(now))
    }
}

fn interval(per_second: u32) -> Duration {
    Duration::from_secs(1) / per_second.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_burst_begins_at_once_and_the_rest_is_spread() {
        let mut bucket = TokenBucket::default();
        let now = Instant::now();
        let mut reserve = || bucket.reserve(10, 300 * MS, now);
        for _ in 0..10 {
            assert_eq!(reserve(), Ok(Duration::ZERO));
        }
        assert_eq!([reserve(), reserve(), reserve()], [Ok(100 * MS), Ok(200 * MS), Ok(300 * MS)]);
        // A refused caller takes no token, and makes no other wait longer.
        assert_eq!([reserve(), reserve()], [Err(400 * MS), Err(400 * MS)]);
        assert_eq!(bucket.reserve(10, 300 * MS, now + 100 * MS), Ok(300 * MS));
    }

    #[test]
    fn available_tokens_can_be_reserved_and_no_more() {
        let mut bucket = TokenBucket::default();
        let now = Instant::now();
        for available in (0..=13).rev() {
            assert_eq!(bucket.available(10, 300 * MS, now), available);
            assert_eq!(bucket.reserve(10, 300 * MS, now).is_ok(), available > 0);
        }
        assert_eq!(bucket.available(10, 300 * MS, now + 200 * MS), 2);
    }

    #[test]
    fn bucket_fills_up_to_its_burst() {
        let mut bucket = TokenBucket::default();
        let now = Instant::now();
        let mut at_once = |now| {
            let mut count = 0;
            while bucket.reserve(4, Duration::ZERO, now).is_ok() {
                count += 1;
            }
            count
        };
        assert_eq!(at_once(now), 4);
        assert_eq!(at_once(now + 500 * MS), 2);
        assert_eq!(at_once(now + 3600 * 1000 * MS), 4);
    }

    #[test]
    fn one_per_second_begins_one_per_second() {
        let mut bucket = TokenBucket::default();
        let now = Instant::now();
        let mut reserve = || bucket.reserve(1, 2000 * MS, now);
        assert_eq!(
            [reserve(), reserve(), reserve()],
            [Ok(Duration::ZERO), Ok(1000 * MS), Ok(2000 * MS)]
        );
        assert_eq!(reserve(), Err(3000 * MS));
    }
}
