//! The three result layers of an answer as one typed verdict (reference 0.3).

use crate::signature::verify_as_signed;
use crate::{Credentials, FieldError, Fields, Limits, SignatureError, XmlError, parse_xml};

/// What WeChat's answer to a call means.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum CallOutcome<T> {
    /// Authentic, and the call did what it says.
    Success(T),
    /// Authentic, and the call was refused. See [`Refused::advice`] before concluding anything.
    Refused(Refused),
    /// Nothing is known. The call may have had its effect.
    Unknown(Unknown),
}

/// A signed refusal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{err_code}: {err_code_des}")]
pub struct Refused {
    /// WeChat's machine code.
    pub err_code: String,
    /// WeChat's text for people.
    pub err_code_des: String,
    /// What to do about it.
    pub advice: Advice,
}

/// What a caller should do after a refusal. Each call's file holds its own table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// The outcome is open: repeat the same call with the same parameters, after a while.
    Retry,
    /// Only `orderquery` can tell what is true now.
    Query,
    /// It is as the caller wished already.
    AlreadyDone,
    /// This number can never be used again.
    NumberUnusable,
    /// The request or the merchant's configuration is wrong: repeating changes nothing.
    FixRequest,
}

/// Why nothing is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// `return_code` is not `SUCCESS`: unsigned, so nothing else in it can be trusted.
    #[error("communication failure: {return_msg}")]
    Communication {
        /// WeChat's text, cut to 128 characters. For people; the texts are not stable.
        return_msg: String,
    },
    /// The answer is not authentic.
    #[error("the answer's signature: {0}")]
    Signature(#[from] SignatureError),
    /// The answer is signed with another algorithm than the request.
    #[error("the answer is signed with another algorithm than the request")]
    SignTypeMismatch,
    /// The answer is no message of WeChat's (a page, an empty body, something cut off).
    #[error("the answer is unreadable: {0}")]
    Xml(#[from] XmlError),
    /// A field that must be there is missing or malformed.
    #[error("the answer is incomplete: {0}")]
    Field(#[from] FieldError),
    /// The answer speaks of something else than what was asked.
    #[error("the answer is about another {0}")]
    Mismatch(&'static str),
    /// No complete answer with status 200 arrived.
    #[error("{0}")]
    Transport(String),
}

impl Refused {
    /// Whether any other call of this merchant would meet the same refusal now: WeChat has trouble
    /// of its own, takes no more calls, or does not serve the account (reference 2.2, 2.5, 5.5). A
    /// frozen account has no code of its own; it is told as `NOAUTH`, or as a communication failure.
    /// Codes about an `appid` are not among them: a merchant can have several.
    #[must_use]
    pub fn affects_every_call(&self) -> bool {
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

impl<T> CallOutcome<T> {
    /// The verdict of an attempt to read the fields of an authentic success.
    fn from_reading(reading: Result<T, Unknown>) -> Self {
        match reading {
            Ok(value) => Self::Success(value),
            Err(unknown) => Self::Unknown(unknown),
        }
    }
}

/// Reads an answer through all three layers: communication, signature, business.
pub(crate) fn read_answer<T>(
    body: &[u8],
    by: &Credentials,
    advice: fn(&str) -> Advice,
    read: impl FnOnce(&Fields) -> Result<T, Unknown>,
) -> CallOutcome<T> {
    let fields = match authentic(body, by) {
        Ok(fields) => fields,
        Err(unknown) => return CallOutcome::Unknown(unknown),
    };
    match fields.get("result_code") {
        Some("SUCCESS") => CallOutcome::from_reading(read(&fields)),
        Some("FAIL") => {
            let err_code = cut(fields.get("err_code").unwrap_or_default());
            let err_code_des = cut(fields.get("err_code_des").unwrap_or_default());
            CallOutcome::Refused(Refused { advice: advice(&err_code), err_code, err_code_des })
        }
        _ => CallOutcome::Unknown(FieldError::new("result_code", "SUCCESS or FAIL").into()),
    }
}

fn authentic(body: &[u8], by: &Credentials) -> Result<Fields, Unknown> {
    let fields = parse_xml(body, Limits::MESSAGE)?;
    if fields.get("return_code") != Some("SUCCESS") {
        let return_msg = cut(fields.get("return_msg").unwrap_or("no return_msg"));
        return Err(Unknown::Communication { return_msg });
    }
    let (sign_type, fields) = verify_as_signed(&fields, &by.key)?;
    if sign_type != by.sign_type {
        return Err(Unknown::SignTypeMismatch);
    }
    if fields.get("mch_id") != Some(by.mch_id.as_str()) {
        return Err(Unknown::Mismatch("mch_id"));
    }
    Ok(fields.into_owned())
}

/// The codes by which every call tells that the request or the merchant's configuration is wrong.
pub(crate) fn needs_a_fix(err_code: &str) -> bool {
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

/// WeChat's texts have 128 characters at most; whatever is longer is not for our logs.
fn cut(text: &str) -> String {
    text.chars().take(128).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_refusals_meet_every_call_and_others_one_order() {
        let meets = |code: &str| {
            let (err_code, err_code_des) = (code.to_owned(), String::new());
            Refused { err_code, err_code_des, advice: Advice::Query }.affects_every_call()
        };
        for code in ["SYSTEMERROR", "FREQUENCY_LIMITED", "INVALID_REQ_TOO_MUCH", "NOAUTH"] {
            assert!(meets(code), "{code}");
        }
        for code in ["ORDERNOTEXIST", "ORDERPAID", "INVALID_REQUEST", "APPID_NOT_EXIST", ""] {
            assert!(!meets(code), "{code}");
        }
    }
}
