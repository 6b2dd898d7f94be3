use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

/// Far beyond what anything here takes: reached only when it will never happen.
const WAIT_MAX: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Polls until the condition yields a value.
///
/// # Panics
/// When it never comes; `what` says what was waited for.
pub async fn eventually<T, F>(what: &str, mut condition: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + WAIT_MAX;
    loop {
        if let Some(seen) = condition().await {
            return seen;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
