//! Errors of the broker, and the bound on every wait for it.

use std::future::Future;
use std::time::Duration;

use lapin::protocol::{AMQPErrorKind, AMQPSoftError};

/// Maximum wait for an answer of the broker, unless a caller gives a deadline of its own. A busy
/// broker answers within a second.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Something the broker did not do. The text names the exchange or queue.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{action}: {cause}")]
pub struct BrokerError {
    action: String,
    cause: Cause,
}

/// A setting that cannot be used. The text says what is wrong and never repeats the value, which
/// may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidSetting(pub(crate) &'static str);

/// Part of the text and not a `source`: the client library stays hidden.
#[derive(Clone, Debug, thiserror::Error)]
enum Cause {
    #[error("{0}")]
    Client(lapin::Error),
    #[error("no answer within {} s", .0.as_secs())]
    TimedOut(Duration),
    #[error("the connection is lost")]
    ConnectionLost,
    #[error("refused by the broker")]
    Refused,
}

impl BrokerError {
    pub(crate) fn connection_lost(action: impl Into<String>) -> Self {
        Self { action: action.into(), cause: Cause::ConnectionLost }
    }

    pub(crate) fn refused(action: impl Into<String>) -> Self {
        Self { action: action.into(), cause: Cause::Refused }
    }

    pub(crate) fn timed_out(action: impl Into<String>, within: Duration) -> Self {
        Self { action: action.into(), cause: Cause::TimedOut(within) }
    }

    pub(crate) fn client(action: impl Into<String>, error: lapin::Error) -> Self {
        Self { action: action.into(), cause: Cause::Client(error) }
    }

    /// The cause without the action, which may name the broker's address.
    pub fn reason(&self) -> String {
        self.cause.to_string()
    }

    /// The exchange or queue does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(&self.cause, Cause::Client(error) if is_not_found(error))
    }

    /// The code and text with which the broker closed the channel.
    pub(crate) fn channel_close(&self) -> Option<(AMQPSoftError, &str)> {
        let Cause::Client(error) = &self.cause else {
            return None;
        };
        let lapin::ErrorKind::ProtocolError(error) = error.kind() else {
            return None;
        };
        match error.kind() {
            AMQPErrorKind::Soft(code) => Some((code.clone(), error.get_message().as_str())),
            AMQPErrorKind::Hard(_) => None,
        }
    }
}

pub(crate) fn is_not_found(error: &lapin::Error) -> bool {
    let lapin::ErrorKind::ProtocolError(error) = error.kind() else {
        return false;
    };
    matches!(error.kind(), AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND))
}

/// Awaits one request to the broker for at most [`REQUEST_TIMEOUT`]: the client library has no
/// timeout of its own, and a blocked or half-open connection never answers.
pub(crate) async fn bounded<T>(
    action: impl Into<String>,
    request: impl Future<Output = lapin::Result<T>>,
) -> Result<T, BrokerError> {
    match tokio::time::timeout(REQUEST_TIMEOUT, request).await {
        Ok(answer) => answer.map_err(|error| BrokerError::client(action, error)),
        Err(_elapsed) => Err(BrokerError::timed_out(action, REQUEST_TIMEOUT)),
    }
}
