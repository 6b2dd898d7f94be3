//! What is known about a message that was not confirmed.

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// It was never written to the socket.
    #[error("not sent: {0}")]
    NotSent(NotSentReason),
    /// The broker said that it does not have it.
    #[error("refused by the broker")]
    Refused,
    /// Written, or possibly so, but not confirmed in time or before the connection was lost. The
    /// broker may have it or may still receive it. Repeat it under the same `message_id`.
    #[error("unknown: not confirmed")]
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSentReason {
    #[error("there is no usable connection to the broker")]
    NoBroker,
    #[error("the broker is short of memory or disk and accepts nothing")]
    Blocked,
    #[error("too many messages are waiting")]
    Full,
    /// It was still queued when its time ran out.
    #[error("its time ran out in the queue")]
    TooLate,
    /// No broker would accept it.
    #[error("{0}")]
    Invalid(&'static str),
}

impl From<NotSentReason> for PublishError {
    fn from(reason: NotSentReason) -> Self {
        Self::NotSent(reason)
    }
}
