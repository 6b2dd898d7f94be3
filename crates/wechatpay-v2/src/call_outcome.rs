//! What the answer to a call means ([protocol](crate::protocol#answers)).

use crate::signature::verify_as_signed;
use crate::{Credentials, FieldError, Fields, Limits, SignatureError, XmlError, parse_xml};

/// The outcome of a call, over all layers of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum CallOutcome<T> {
    /// The answer is authentic, and the call succeeded.
    Success(T),
    /// The answer is authentic, and the call was refused. [`Refused::advice`] gives the next step.
    Refused(Refused),
    /// The outcome is unknown: the call may have had its effect.
    Unknown(Unknown),
}

/// Why an authentic answer refused the call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{err_code}: {err_code_des}")]
pub struct Refused {
    /// The machine-readable code of the refusal.
    pub err_code: String,
    /// WeChat's description, cut to 128 characters. Its wording is not stable.
    pub err_code_des: String,
    /// What to do next.
    pub advice: Advice,
}

/// What to do after a refusal. [PROTOCOL.md](crate::protocol#error-codes) has the table per call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// The outcome is open. Repeat the same call with the same parameters after a while.
    Retry,
    /// The refusal does not show the state of the order. Query it.
    Query,
    /// The order already is in the state that the call asked for.
    AlreadyDone,
    /// The `out_trade_no` can never be used again.
    NumberUnusable,
    /// The request or the merchant's configuration is wrong. Repeating changes nothing.
    FixRequest,
}

/// Why the outcome of a call is unknown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// `return_code` is not `SUCCESS`. Such an answer is not signed.
    #[error("communication failure: {return_msg}")]
    Communication {
        /// WeChat's description, cut to 128 characters. Its wording is not stable.
        return_msg: String,
    },
    /// The answer is not authentic.
    #[error("the answer's signature: {0}")]
    Signature(#[from] SignatureError),
    /// The answer is signed with another algorithm than the request.
    #[error("the answer is signed with another algorithm than the request")]
    SignTypeMismatch,
    /// The answer is not a message of WeChat's, but a page, an empty body or cut off.
    #[error("the answer is unreadable: {0}")]
    Xml(#[from] XmlError),
    /// A required field of the answer is missing or malformed.
    #[error("the answer is incomplete: {0}")]
    Field(#[from] FieldError),
    /// The named element of the answer differs from the request.
    #[error("the answer is about another {0}")]
    Mismatch(&'static str),
    /// No complete answer with HTTP status 200 arrived.
    #[error("{0}")]
    Transport(String),
}

impl Refused {
    /// Whether any other call of this merchant would be refused the same way now: WeChat has
    /// internal trouble, accepts no more calls, or does not serve the account.
    ///
    /// Codes about an `appid` are not among them, because a merchant can have several.
    #[must_use]
    pub fn affects_every_call(&self) -> bool {
        // A frozen account has no code of its own: it appears as NOAUTH or as a communication
        // failure.
        matches!(
            &*self.err_code,
            "SYSTEMERROR"
                | "FREQUENCY_LIMITED"
                | "RATELIMIT_EXCEEDED"
                | "INVALID_REQ_TOO_MUCH"
                | "NOAUTH"
                | "MCHID_NOT_EXIST"
                | "SIGNERROR"
        )
    }
}

impl Refused {
    /// Whether WeChat refused the call because the merchant makes too many.
    #[must_use]
    pub fn is_too_frequent(&self) -> bool {
        matches!(
            &*self.err_code,
            "FREQUENCY_LIMITED" | "RATELIMIT_EXCEEDED" | "INVALID_REQ_TOO_MUCH"
        )
    }
}

/// Reads an answer through its layers: communication, signature, business. `read` reads the fields
/// of an authentic success.
pub(crate) fn read_answer<T>(
    body: &[u8],
    credentials: &Credentials,
    advice: fn(&str) -> Advice,
    read: impl FnOnce(&Fields) -> Result<T, Unknown>,
) -> CallOutcome<T> {
    let fields = match authenticate(body, credentials) {
        Ok(fields) => fields,
        Err(unknown) => return CallOutcome::Unknown(unknown),
    };
    match fields.get("result_code") {
        Some("SUCCESS") => match read(&fields) {
            Ok(value) => CallOutcome::Success(value),
            Err(unknown) => CallOutcome::Unknown(unknown),
        },
        Some("FAIL") => {
            let err_code = truncate(fields.get("err_code").unwrap_or_default());
            let err_code_des = truncate(fields.get("err_code_des").unwrap_or_default());
            CallOutcome::Refused(Refused { advice: advice(&err_code), err_code, err_code_des })
        }
        _ => CallOutcome::Unknown(FieldError::new("result_code", "SUCCESS or FAIL").into()),
    }
}

fn authenticate(body: &[u8], credentials: &Credentials) -> Result<Fields, Unknown> {
    let fields = parse_xml(body, Limits::MESSAGE)?;
    if fields.get("return_code") != Some("SUCCESS") {
        let return_msg = truncate(fields.get("return_msg").unwrap_or("no return_msg"));
        return Err(Unknown::Communication { return_msg });
    }
    let (sign_type, fields) = verify_as_signed(&fields, &credentials.key)?;
    if sign_type != credentials.sign_type {
        return Err(Unknown::SignTypeMismatch);
    }
    if fields.get("mch_id") != Some(credentials.mch_id.as_str()) {
        return Err(Unknown::Mismatch("mch_id"));
    }
    Ok(fields.into_owned())
}

/// Whether every call answers this code because the request or the configuration is wrong.
pub(crate) fn is_fix_request_in_every_call(err_code: &str) -> bool {
    matches!(
        err_code,
        "NOAUTH"
            | "APPID_NOT_EXIST"
            | "MCHID_NOT_EXIST"
            | "APPID_MCHID_NOT_MATCH"
            | "LACK_PARAMS"
            | "PARAM_ERROR"
            | "SIGNERROR"
            | "XML_FORMAT_ERROR"
            | "REQUIRE_POST_METHOD"
            | "POST_DATA_EMPTY"
            | "NOT_UTF8"
    )
}

// The documented length. Longer texts could fill a log.
fn truncate(text: &str) -> String {
    text.chars().take(128).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_affects_every_call_or_only_its_order() {
        let affects = |code: &str| {
            let refused = Refused {
                err_code: code.to_owned(),
                err_code_des: String::new(),
                advice: Advice::Query,
            };
            refused.affects_every_call()
        };
        for code in ["SYSTEMERROR", "FREQUENCY_LIMITED", "INVALID_REQ_TOO_MUCH", "NOAUTH"] {
            assert!(affects(code), "{code}");
        }
        for code in ["ORDERNOTEXIST", "ORDERPAID", "INVALID_REQUEST", "APPID_NOT_EXIST", ""] {
            assert!(!affects(code), "{code}");
        }
    }
}
