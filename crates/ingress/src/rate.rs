//! How many requests a source may send.

use std::{
    collections::HashMap,
    mem,
    net::IpAddr,
    num::NonZeroU32,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::source::Source;

/// Requests per second of one source unless `WXPAY_PUBLIC_RATE` says otherwise.
///
/// Nobody here can tell an honest notification from a forged one, so the limit must never be one
/// that WeChat meets: a shop with a million payments a day gets twelve notifications a second on
/// average and a few hundred at its peak, from all of WeChat's addresses together. A thousand from
/// one address is beyond that, and still a small part of what this service and one worker get
/// through, so that one machine alone cannot keep them busy. It is no remedy against many sources:
/// what they send is shed by the bound on requests in flight, and costs the database a bounded
/// sample.
pub(crate) const PER_SECOND_DEFAULT: NonZeroU32 = NonZeroU32::new(1000).expect("is not zero");
/// What a source may send at once after it was quiet. Notifications come in bursts (the end of a
/// flash sale, the repeats after our own outage), a second's worth of them at least.
const BURST: Duration = Duration::from_secs(1);
/// Sources that are remembered: far more than WeChat has, for about four megabytes. Of more sources
/// than that, the half not seen for longest is forgotten, and who is forgotten may send again: a
/// flood of addresses makes nobody else's limit narrower.
const SOURCES_MAX: usize = 65_536;

/// A token bucket for each source.
pub(crate) struct Rate {
    /// One request's share of a second.
    each: Duration,
    buckets: Mutex<Buckets>,
}

/// Each source with the moment at which its bucket is full again. In two halves, so that forgetting
/// never walks over them.
#[derive(Default)]
struct Buckets {
    recent: HashMap<IpAddr, Instant>,
    older: HashMap<IpAddr, Instant>,
}

impl Rate {
    pub(crate) fn new(per_second: NonZeroU32) -> Self {
        Self { each: BURST / per_second.get(), buckets: Mutex::default() }
    }

    /// Whether this source may send one more request now, and takes its token.
    pub(crate) fn take(&self, source: Source, now: Instant) -> bool {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let full_at = buckets.of(source.block(), now);
        let full_then = (*full_at).max(now) + self.each;
        let has_one = full_then <= now + BURST;
        if has_one {
            *full_at = full_then;
        }
        has_one
    }
}

impl Buckets {
    fn of(&mut self, source: IpAddr, now: Instant) -> &mut Instant {
        if self.recent.len() >= SOURCES_MAX / 2 && !self.recent.contains_key(&source) {
            self.older = mem::take(&mut self.recent);
        }
        let older = &mut self.older;
        self.recent.entry(source).or_insert_with(|| older.remove(&source).unwrap_or(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(per_second: u32) -> Rate {
        Rate::new(NonZeroU32::new(per_second).unwrap())
    }

    fn source(text: &str) -> Source {
        Source(text.parse().unwrap())
    }

    #[test]
    fn a_source_has_a_burst_and_then_its_rate() {
        let (rate, one, start) = (rate(10), source("203.0.113.1"), Instant::now());
        let burst = |at| (0..100).filter(|_| rate.take(one, at)).count();
        assert_eq!(burst(start), 10);
        assert_eq!(burst(start + Duration::from_millis(99)), 0);
        assert_eq!(burst(start + Duration::from_millis(300)), 3);
        assert_eq!(burst(start + Duration::from_secs(60)), 10, "no more than a burst is saved up");
        assert!(rate.take(source("203.0.113.2"), start), "another's bucket is another's");
    }

    #[test]
    fn addresses_of_one_network_share_a_bucket() {
        let (rate, now) = (rate(1), Instant::now());
        assert!(rate.take(source("2001:db8::1"), now));
        assert!(!rate.take(source("2001:db8::2"), now));
        assert!(rate.take(source("2001:db8:0:1::1"), now));
    }

    #[test]
    fn sources_without_number_fill_no_memory_and_harm_nobody() {
        let (rate, now) = (rate(1), Instant::now());
        let nth = |n: u32| Source(IpAddr::V4(n.into()));
        let recent = 200_000;
        assert!((0..=recent).all(|n| rate.take(nth(n), now)));
        assert!(!rate.take(nth(recent), now), "who was here just now is remembered");
        assert!(rate.take(nth(0), now), "who is forgotten begins anew");
        let buckets = rate.buckets.lock().unwrap();
        assert!(buckets.recent.len() + buckets.older.len() <= SOURCES_MAX);
    }
}
