use std::time::{Duration, Instant};

/// WeChat publishes no limit for the calls made here. The highest that it publishes for another
/// call is this, for refundquery.
const FIRST: f64 = 300.0;
const MAX: f64 = 2000.0;
/// The rate rises and falls at most once in this time: the answers of one second speak of one rate.
const PERIOD: Duration = Duration::from_secs(1);
const RISE: f64 = 1.1;

/// The rate of one merchant's calls, which finds itself: it rises while calls wait for it, and
/// halves when WeChat refuses them as too frequent. Pure: the time is passed in.
#[derive(Debug)]
pub(super) struct AdaptiveRate {
    per_second: f64,
    period_began: Option<Instant>,
    halved_at: Option<Instant>,
    /// In this period a call had to wait for the rate.
    has_delayed: bool,
    /// In this period WeChat refused a call as too frequent.
    is_refused: bool,
}

impl AdaptiveRate {
    pub(super) fn new() -> Self {
        Self {
            per_second: FIRST,
            period_began: None,
            halved_at: None,
            has_delayed: false,
            is_refused: false,
        }
    }

    /// Calls per second, at most `bound`.
    pub(super) fn per_second(&mut self, bound: Option<u32>, now: Instant) -> u32 {
        let bound = bound.map_or(MAX, f64::from);
        let began = *self.period_began.get_or_insert(now);
        if now.saturating_duration_since(began) >= PERIOD {
            if self.has_delayed && !self.is_refused && self.per_second < bound {
                self.per_second = (self.per_second * RISE).min(MAX);
            }
            self.period_began = Some(now);
            self.has_delayed = false;
            self.is_refused = false;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let rounded = self.per_second.min(bound).max(1.0) as u32;
        rounded
    }

    pub(super) fn record_delay(&mut self) {
        self.has_delayed = true;
    }

    /// WeChat refused a call as too frequent.
    pub(super) fn record_refusal(&mut self, bound: Option<u32>, now: Instant) {
        self.is_refused = true;
        let is_recent = |at: Instant| now.saturating_duration_since(at) < PERIOD;
        if self.halved_at.is_some_and(is_recent) {
            return;
        }
        self.halved_at = Some(now);
        let in_force = bound.map_or(self.per_second, |bound| self.per_second.min(bound.into()));
        self.per_second = (in_force / 2.0).max(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn rate_rises_only_while_calls_wait_for_it() {
        let mut rate = AdaptiveRate::new();
        let start = Instant::now();
        assert_eq!(rate.per_second(None, start), 300);
        assert_eq!(rate.per_second(None, start + SECOND), 300);
        rate.record_delay();
        assert_eq!(rate.per_second(None, start + SECOND), 300);
        assert_eq!(rate.per_second(None, start + 2 * SECOND), 330);
        assert_eq!(rate.per_second(None, start + 3 * SECOND), 330);
        for second in 4..60 {
            rate.record_delay();
            rate.per_second(None, start + second * SECOND);
        }
        assert_eq!(rate.per_second(None, start + 60 * SECOND), 2000);
    }

    #[test]
    fn rate_halves_once_a_second_and_never_below_one() {
        let mut rate = AdaptiveRate::new();
        let start = Instant::now();
        rate.record_delay();
        rate.record_refusal(None, start);
        rate.record_refusal(None, start + SECOND / 2);
        assert_eq!(rate.per_second(None, start), 150);
        // A period with a refusal does not raise it.
        rate.record_delay();
        assert_eq!(rate.per_second(None, start + SECOND), 150);
        for second in 1..20 {
            rate.record_refusal(None, start + second * SECOND);
        }
        assert_eq!(rate.per_second(None, start + 20 * SECOND), 1);
    }

    #[test]
    fn bound_is_never_exceeded_and_halved_from() {
        let mut rate = AdaptiveRate::new();
        let start = Instant::now();
        for second in 0..30 {
            rate.record_delay();
            assert_eq!(rate.per_second(Some(75), start + second * SECOND), 75);
        }
        rate.record_refusal(Some(75), start + 30 * SECOND);
        assert_eq!(rate.per_second(Some(75), start + 30 * SECOND), 37);
    }
}
