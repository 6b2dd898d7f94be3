//! Why the control API refuses a request.

/// Why the simulator does not do what it is asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// There is no such merchant or order.
    #[error("{0}")]
    NotFound(&'static str),
    /// The order's state forbids it.
    #[error("{0}")]
    Conflict(&'static str),
    /// The request breaks a rule, whatever the order's state.
    #[error("{0}")]
    Invalid(&'static str),
    /// Too many notifications wait for their next send.
    #[error("too many notifications are waiting")]
    Busy,
}
