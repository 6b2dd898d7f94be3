use std::time::Duration;

use time::OffsetDateTime;

/// The random part of a wait. Without it, orders that were accepted together, or that waited for
/// the same outage, would all become due in the same instant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Jitter(pub(super) f64);

impl Jitter {
    /// A wait changes by a tenth at most.
    const SHARE: f64 = 0.1;
    /// Enough to spread what ends in the same second.
    const DELAY_MAX: Duration = Duration::from_secs(2);

    pub(crate) fn draw() -> Self {
        Self(fastrand::f64())
    }

    /// A pause of 90 % to 110 %.
    pub(super) fn spread(self, pause: Duration) -> Duration {
        pause.mul_f64(1.0 - Self::SHARE + 2.0 * Self::SHARE * self.0)
    }

    /// An instant a little later, never earlier: many orders can share an instant before which
    /// there is nothing to do. The delay is at most a tenth of the `pause` that led there, and at
    /// most two seconds.
    pub(super) fn delay(self, instant: OffsetDateTime, pause: Duration) -> OffsetDateTime {
        let delay_max = pause.mul_f64(Self::SHARE).min(Self::DELAY_MAX);
        instant + delay_max.mul_f64(self.0)
    }
}
