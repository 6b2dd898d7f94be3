use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

/// Far longer than anything here takes: a test reaches it only when the event never happens.
const WAIT_MAX: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Polls until the condition yields a value.
///
/// # Panics
/// After a minute without a value. `what` names the expected event in the message.
pub async fn eventually<T, F>(what: &str, mut condition: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let condition = || {
        let value = condition();
        async { value.await.ok_or("not yet") }
    };
    eventually_ok(what, condition).await
}

/// [`eventually`], for a condition that says why it is not met yet.
///
/// # Panics
/// After a minute without a value, with the last reason.
pub async fn eventually_ok<T, E, F>(what: &str, mut condition: impl FnMut() -> F) -> T
where
    E: std::fmt::Debug,
    F: Future<Output = Result<T, E>>,
{
    let deadline = Instant::now() + WAIT_MAX;
    loop {
        let reason = match condition().await {
            Ok(value) => return value,
            Err(reason) => reason,
        };
        assert!(Instant::now() < deadline, "timed out waiting for {what}: {reason:?}");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
