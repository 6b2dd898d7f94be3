use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

/// Far beyond what anything here takes: reached only when it will never happen.
const PATIENCE: Duration = Duration::from_secs(60);
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// Looks until there is something to see.
///
/// # Panics
/// When it never comes; `what` says what was waited for.
pub async fn eventually<T, F>(what: &str, mut look: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}
