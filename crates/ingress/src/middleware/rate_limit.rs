//! How many requests a source may send.

use std::collections::HashMap;
use std::mem;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::Extension;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use service::metrics::names;
use service::token_bucket::{Rate, TokenBucket};

use crate::http::source::Source;
use crate::notify_response;

/// Requests per second of one source unless `WXPAY_PUBLIC_RATE` is set.
///
/// The ingress cannot tell an honest notification from a forged one, so WeChat itself must never
/// reach the limit. A shop with a million payments a day gets twelve notifications a second on
/// average and a few hundred at its peak, from all of WeChat's addresses together. A thousand from
/// one address is beyond that, and a small part of what this service and one worker can process, so
/// one machine alone cannot keep them busy. The limit does not help against many sources: their
/// requests are refused by the bound on requests in flight, and cost the database a bounded sample.
pub(crate) const REQUESTS_PER_SECOND_DEFAULT: NonZeroU32 =
    NonZeroU32::new(1000).expect("is not zero");
/// Sources that are remembered: far more than WeChat has, in about four megabytes. When there are
/// more, the half not seen for longest is forgotten and starts with a full bucket, so a flood of
/// addresses makes no other source's limit narrower.
const SOURCES_MAX: usize = 65_536;

/// A token bucket for each source. A source that was quiet may send a second's worth at once,
/// because notifications come in bursts: at the end of a flash sale, after an outage of the ingress.
pub(crate) struct RateLimit {
    rate: Rate,
    buckets: Mutex<Buckets>,
}

/// In two halves, so that forgetting takes constant time.
#[derive(Default)]
struct Buckets {
    recent: HashMap<IpAddr, TokenBucket>,
    older: HashMap<IpAddr, TokenBucket>,
}

impl RateLimit {
    pub(crate) fn new(per_second: NonZeroU32) -> Self {
        Self { rate: Rate::per_second(per_second.get()), buckets: Mutex::default() }
    }

    /// Takes a token of this source if it has one now.
    fn take(&self, source: Source, now: Instant) -> bool {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.get_or_insert(source.block()).try_take(self.rate, now)
    }
}

/// Answers 429 to a source that is over its rate. Does not wait for the body.
pub(crate) async fn limit_rate(
    State(limit): State<Arc<RateLimit>>,
    Extension(source): Extension<Source>,
    request: Request,
    next: Next,
) -> Response {
    if !limit.take(source, Instant::now()) {
        metrics::counter!(names::SHED, "reason" => "public_rate").increment(1);
        return notify_response::too_many_requests();
    }
    next.run(request).await
}

impl Buckets {
    fn get_or_insert(&mut self, source: IpAddr) -> &mut TokenBucket {
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

    fn limit(per_second: u32) -> RateLimit {
        RateLimit::new(NonZeroU32::new(per_second).unwrap())
    }

    fn source(text: &str) -> Source {
        Source(text.parse().unwrap())
    }

    #[test]
    fn source_has_a_burst_and_then_its_rate() {
        let limit = limit(10);
        let one = source("203.0.113.1");
        let start = Instant::now();
        let taken_at = |at| (0..100).filter(|_| limit.take(one, at)).count();
        assert_eq!(taken_at(start), 10);
        assert_eq!(taken_at(start + Duration::from_millis(99)), 0);
        assert_eq!(taken_at(start + Duration::from_millis(300)), 3);
        assert_eq!(taken_at(start + Duration::from_secs(60)), 10, "no more than a burst is saved");
        assert!(limit.take(source("203.0.113.2"), start), "each source has its own bucket");
    }

    #[test]
    fn addresses_of_one_network_share_a_bucket() {
        let limit = limit(1);
        let now = Instant::now();
        assert!(limit.take(source("2001:db8::1"), now));
        assert!(!limit.take(source("2001:db8::2"), now));
        assert!(limit.take(source("2001:db8:0:1::1"), now));
    }

    #[test]
    fn many_sources_fill_no_memory_and_narrow_no_limit() {
        let limit = limit(1);
        let now = Instant::now();
        let nth = |n: u32| Source(IpAddr::V4(n.into()));
        let latest = 200_000;
        assert!((0..=latest).all(|n| limit.take(nth(n), now)));
        assert!(!limit.take(nth(latest), now), "the latest is remembered");
        assert!(limit.take(nth(0), now), "a forgotten one starts anew");
        let buckets = limit.buckets.lock().unwrap();
        assert!(buckets.recent.len() + buckets.older.len() <= SOURCES_MAX);
    }
}
