//! The time that one request of a check may take.

use std::time::Duration;

use tokio::time::timeout;

/// One request to a server, a name server or a disk. Postgres cancels a statement after the same
/// time.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// The output of a request, or why there is none. The request runs in a task of its own and is
/// never cancelled, because the futures of the store must not be dropped.
pub(super) async fn with_timeout<T: Send + 'static>(
    request: impl Future<Output = T> + Send + 'static,
) -> Result<T, String> {
    spawn_with_timeout(REQUEST_TIMEOUT, request).await
}

async fn spawn_with_timeout<T: Send + 'static>(
    limit: Duration,
    request: impl Future<Output = T> + Send + 'static,
) -> Result<T, String> {
    match timeout(limit, tokio::spawn(request)).await {
        Ok(Ok(output)) => Ok(output),
        Ok(Err(_)) => Err("the check itself failed".to_owned()),
        Err(_) => Err(format!("no answer within {} s", limit.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn request_that_hangs_or_panics_is_an_error() {
        assert_eq!(with_timeout(async { 1 }).await, Ok(1));
        let hangs = spawn_with_timeout(Duration::ZERO, std::future::pending::<u8>()).await;
        assert_eq!(hangs, Err("no answer within 0 s".to_owned()));
        let panics: Result<(), _> = with_timeout(async { panic!("on purpose") }).await;
        assert_eq!(panics, Err("the check itself failed".to_owned()));
    }
}
