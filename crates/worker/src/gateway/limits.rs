use std::time::Duration;

use wechatpay_v2::client::Timeouts;

/// What bounds our calls to WeChat. No setting changes it; tests lower it.
#[derive(Clone, Copy, Debug)]
pub struct GatewayLimits {
    /// Commands of shops under way at once in one worker. The calls of one merchant hold at most
    /// its share of them: all when it is alone, a quarter when there are four or more.
    pub concurrent_creates: usize,
    /// Checks of the reconciler under way at once in one worker, shared in the same way.
    pub concurrent_checks: usize,
    /// So many failures in a row pause a merchant's calls.
    pub failures_max: u32,
    /// The first pause; it doubles from there until a call works.
    pub pause_first: Duration,
    /// The longest pause.
    pub pause_max: Duration,
    /// How long a call waits for its answer, and how long a dead host is left alone.
    pub timeouts: Timeouts,
}

impl Default for GatewayLimits {
    fn default() -> Self {
        Self {
            // Slow calls must not hold up other orders.
            concurrent_creates: 256,
            // Each makes up to two calls, one after the other.
            concurrent_checks: 32,
            // Twice what makes one order unsettled by the same failure, so that no single order
            // that WeChat never understands pauses its whole merchant.
            failures_max: 10,
            // Fewer than the 6 bad requests in a second from which WeChat shuts merchants out
            // (reference 5.5), for as many workers as anybody runs.
            pause_first: Duration::from_secs(1),
            // Nobody waits longer than a minute or so after a key is mended at WeChat's end.
            pause_max: Duration::from_secs(60),
            timeouts: Timeouts::default(),
        }
    }
}
