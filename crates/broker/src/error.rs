//! What can go wrong between us and the broker, and the bound on every wait.

use std::{future::Future, time::Duration};

use lapin::protocol::{AMQPErrorKind, AMQPSoftError};

/// No answer of the broker is waited for longer than this, except where a caller gives a
/// deadline of its own. Well above a busy broker's second, well below a human's patience.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Something the broker did not do. The text names the exchange or queue.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{what}: {problem}")]
pub struct BrokerError {
    what: String,
    problem: Problem,
}

/// The cause is part of the text and not a `source`: the client library stays hidden.
#[derive(Clone, Debug, thiserror::Error)]
enum Problem {
    #[error("{0}")]
    Client(lapin::Error),
    #[error("no answer within {} s", .0.as_secs())]
    TimedOut(Duration),
    #[error("the connection is gone")]
    Gone,
    #[error("refused by the broker")]
    Refused,
}

impl BrokerError {
    /// There is no connection at present.
    pub(crate) fn gone(what: impl Into<String>) -> Self {
        Self { what: what.into(), problem: Problem::Gone }
    }

    /// The broker would not take a message.
    pub(crate) fn refused(what: impl Into<String>) -> Self {
        Self { what: what.into(), problem: Problem::Refused }
    }

    pub(crate) fn timed_out(what: impl Into<String>, within: Duration) -> Self {
        Self { what: what.into(), problem: Problem::TimedOut(within) }
    }

    pub(crate) fn client(what: impl Into<String>, error: lapin::Error) -> Self {
        Self { what: what.into(), problem: Problem::Client(error) }
    }

    /// The cause alone: without the address that stands in front of it.
    pub fn reason(&self) -> String {
        self.problem.to_string()
    }

    /// What the broker closed a channel with, and the text it gave.
    pub(crate) fn objection(&self) -> Option<(AMQPSoftError, &str)> {
        let Problem::Client(error) = &self.problem else {
            return None;
        };
        let lapin::ErrorKind::ProtocolError(error) = error.kind() else {
            return None;
        };
        match error.kind() {
            AMQPErrorKind::Soft(kind) => Some((kind.clone(), error.get_message().as_str())),
            AMQPErrorKind::Hard(_) => None,
        }
    }

    /// The broker says that the exchange or queue does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(&self.problem, Problem::Client(error) if is_not_found(error))
    }
}

/// Whether the broker closed a channel because something does not exist.
pub(crate) fn is_not_found(error: &lapin::Error) -> bool {
    let lapin::ErrorKind::ProtocolError(error) = error.kind() else {
        return false;
    };
    matches!(error.kind(), AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND))
}

/// Awaits one request to the broker, but not for ever: a blocked or half-dead connection answers
/// nothing at all (engineering, finding 3 and section 2.1).
pub(crate) async fn bounded<T>(
    what: impl Into<String>,
    request: impl Future<Output = lapin::Result<T>>,
) -> Result<T, BrokerError> {
    match tokio::time::timeout(PATIENCE, request).await {
        Ok(answer) => answer.map_err(|error| BrokerError::client(what, error)),
        Err(_elapsed) => Err(BrokerError::timed_out(what, PATIENCE)),
    }
}
