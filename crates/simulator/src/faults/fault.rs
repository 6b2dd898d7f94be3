//! What can go wrong with a call.

use serde::{Deserialize, Serialize};

/// One thing that goes wrong with one call. "Commit" means that the call took effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// The connection closes without an answer; the call has no effect.
    DropBefore,
    /// The call takes effect; the connection closes without an answer.
    DropAfterCommit,
    /// `SYSTEMERROR`; the call has no effect.
    SystemError,
    /// `SYSTEMERROR`, although the call takes effect.
    SystemErrorAfterCommit,
    /// Status 502 with a page; the call has no effect.
    #[serde(rename = "status_5xx")]
    Status5xx,
    /// Status 200 with a page; the call has no effect.
    Html,
    /// The call takes effect; the answer's body is empty.
    Empty,
    /// The call takes effect; the answer's XML ends in the middle.
    Truncated,
    /// The call takes effect; the answer's signature is wrong.
    BadSignature,
    /// The call takes effect; the answer has no signature.
    MissingSignature,
    /// The call takes effect; the answer, correctly signed, names another order (or another app, if
    /// an answer names no order).
    OtherOrder,
    /// The call starts so many milliseconds later, then runs as usual.
    DelayMs(u64),
    /// `FREQUENCY_LIMITED`; the call has no effect.
    FrequencyLimited,
    /// Any `result_code=FAIL`; the call has no effect.
    ErrCode {
        err_code: String,
        #[serde(default)]
        err_code_des: String,
    },
    /// `return_code=FAIL` with this text; the call has no effect.
    ReturnFail(String),
    /// orderquery does not know the payment yet: `NOTPAY`. Other calls are as usual.
    Lag,
    /// orderquery reports a failed attempt to pay: `PAYERROR`. The payer may try again.
    PayError,
    /// The call waits until it is released, then runs as usual, even if its caller has disconnected.
    Hold,
    /// The call takes effect; the answer waits until the call is released.
    HoldAfterCommit,
}

impl Fault {
    /// The name under which the call is counted; `None` means that the answer decides.
    pub(crate) fn outcome(&self) -> Option<&'static str> {
        Some(match self {
            Self::DropBefore => "drop_before",
            Self::DropAfterCommit => "drop_after_commit",
            Self::SystemErrorAfterCommit => "system_error_after_commit",
            Self::Status5xx => "status_5xx",
            Self::Html => "html",
            Self::Empty => "empty",
            Self::Truncated => "truncated",
            Self::BadSignature => "bad_signature",
            Self::MissingSignature => "missing_signature",
            Self::OtherOrder => "other_order",
            Self::SystemError
            | Self::FrequencyLimited
            | Self::ErrCode { .. }
            | Self::ReturnFail(_)
            | Self::DelayMs(_)
            | Self::Hold
            | Self::HoldAfterCommit
            | Self::Lag
            | Self::PayError => return None,
        })
    }

    /// The `trade_state` that orderquery answers instead of the order's own.
    pub(crate) fn trade_state(&self) -> Option<&'static str> {
        match self {
            Self::Lag => Some("NOTPAY"),
            Self::PayError => Some("PAYERROR"),
            _ => None,
        }
    }

    /// The texts that the answer contains.
    pub(crate) fn texts(&self) -> [&str; 2] {
        match self {
            Self::ErrCode { err_code, err_code_des } => [err_code, err_code_des],
            Self::ReturnFail(text) => [text, ""],
            _ => ["", ""],
        }
    }
}
