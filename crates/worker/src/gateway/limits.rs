use std::time::Duration;

use wechatpay_v2::client::Timeouts;

/// Limits of the calls to WeChat. `WXPAY_GATEWAY_CONCURRENCY` sets the first; tests lower them.
#[derive(Clone, Copy, Debug)]
pub struct GatewayLimits {
    /// Calls in progress at once in one worker. The calls of one merchant use at most its share: all
    /// when it is alone, a quarter when there are four or more.
    pub concurrent_calls: usize,
    /// Checks of the reconciler in progress at once in one worker, shared in the same way.
    pub concurrent_checks: usize,
    /// This many failures in a row open a merchant's breaker.
    pub failures_max: u32,
    /// The breaker's first pause. It doubles until a call succeeds.
    pub pause_first: Duration,
    pub pause_max: Duration,
    /// How long a call waits for its answer, and how long an unreachable host is not tried again.
    pub timeouts: Timeouts,
}

impl GatewayLimits {
    /// A call of 200 ms leaves 5,000 a second; a call that hangs for 8 s still leaves 128.
    pub const CONCURRENT_CALLS: usize = 1024;
}

impl Default for GatewayLimits {
    fn default() -> Self {
        Self {
            concurrent_calls: Self::CONCURRENT_CALLS,
            // Each check makes up to two calls, one after the other.
            concurrent_checks: 32,
            // Twice the failures that make one order unsettled: a single order that WeChat never
            // understands does not pause the whole merchant.
            failures_max: 10,
            // WeChat blocks merchants from 6 bad requests in a second. One probe a second in each
            // worker stays below that.
            pause_first: Duration::from_secs(1),
            // After a key is fixed on WeChat's side, calls work again within about a minute.
            pause_max: Duration::from_secs(60),
            timeouts: Timeouts::default(),
        }
    }
}
