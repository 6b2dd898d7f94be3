//! How many requests a source may send.

use std::{
    collections::HashMap,
    mem,
    net::IpAddr,
    num::NonZeroU32,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use service::token_bucket::{Rate, TokenBucket};

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
/// Sources that are remembered: far more than WeChat has, for about four megabytes. Of more sources
/// than that, the half not seen for longest is forgotten, and who is forgotten may send again: a
/// flood of addresses makes nobody else's limit narrower.
const SOURCES_MAX: usize = 65_536;

/// A token bucket for each source. One that was quiet may send a second's worth at once:
/// notifications come in bursts (the end of a flash sale, the repeats after an outage of ours).
pub(crate) struct SourceRate {
    rate: Rate,
    buckets: Mutex<Buckets>,
}

/// In two halves, so that forgetting never walks over them.
#[derive(Default)]
struct Buckets {
    recent: HashMap<IpAddr, TokenBucket>,
    older: HashMap<IpAddr, TokenBucket>,
}

impl SourceRate {
    pub(crate) fn new(per_second: NonZeroU32) -> Self {
        Self { rate: Rate::per_second(per_second.get()), buckets: Mutex::default() }
    }

    /// Whether this source may send one more request now, and takes its token.
    pub(crate) fn take(&self, source: Source, now: Instant) -> bool {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.of(source.block()).try_take(self.rate, now)
    }
}

impl Buckets {
    fn of(&mut self, source: IpAddr) -> &mut TokenBucket {
        if self.recent.len() >= SOURCES_MAX / 2 && !self.recent.contains_key(&source) {
            self.older = mem::take(&mut self.recent);
        }
        let older = &mut self.older;
        self.recent.entry(source).or_insert_with(|| older.remove(&source).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn rate(per_second: u32) -> SourceRate {
        SourceRate::new(NonZeroU32::new(per_second).unwrap())
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
