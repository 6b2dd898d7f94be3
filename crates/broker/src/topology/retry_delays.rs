//! How long a delivery waits before it is tried again.

use std::time::Duration;

/// A delay queue: its messages return to their exchange after this long. One queue per delay, because
/// with a TTL per message a long one at the head would block the short ones behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DelayStep {
    pub(crate) name: &'static str,
    pub(crate) delay: Duration,
}

/// From short to long.
pub(crate) const RETRY_DELAYS: [DelayStep; 4] = [
    DelayStep { name: "5s", delay: Duration::from_secs(5) },
    DelayStep { name: "30s", delay: Duration::from_secs(30) },
    DelayStep { name: "2m", delay: Duration::from_secs(120) },
    DelayStep { name: "10m", delay: Duration::from_secs(600) },
];
