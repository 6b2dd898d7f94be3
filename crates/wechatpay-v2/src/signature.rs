//! Signing and verification (reference 1.1).

use std::borrow::Cow;

use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::{ApiKey, FieldError, Fields, hex};

/// The algorithm of a signature. An order keeps the one that it was created with: its replies and
/// its notification are signed with the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum SignType {
    /// 32 hex digits; what WeChat assumes when `sign_type` is absent.
    #[default]
    #[serde(rename = "MD5")]
    Md5,
    /// 64 hex digits.
    #[serde(rename = "HMAC-SHA256")]
    HmacSha256,
}

impl SignType {
    /// Reads the value of `sign_type`.
    ///
    /// # Errors
    /// When the text is neither of WeChat's two names.
    pub fn parse(text: &str) -> Result<Self, FieldError> {
        match text {
            "MD5" => Ok(Self::Md5),
            "HMAC-SHA256" => Ok(Self::HmacSha256),
            _ => Err(FieldError::new("sign_type", "MD5 or HMAC-SHA256")),
        }
    }

    /// WeChat's name of the algorithm.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::HmacSha256 => "HMAC-SHA256",
        }
    }

    fn of_form(signature: &str) -> Option<Self> {
        let hex = signature.bytes().all(|byte| byte.is_ascii_hexdigit());
        match signature.len() {
            32 if hex => Some(Self::Md5),
            64 if hex => Some(Self::HmacSha256),
            _ => None,
        }
    }
}

/// Why a message is not authentic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// There is no `sign`, or it is blank.
    #[error("there is no sign")]
    Missing,
    /// `sign` is neither 32 nor 64 hex digits, or disagrees with the message's own `sign_type`.
    #[error("sign has the form of no known algorithm")]
    Form,
    /// The signature is another one.
    #[error("sign does not verify")]
    Wrong,
}

/// The signature of a message: every element but `sign` whose text is not empty, in upper-case hex.
#[must_use]
pub fn sign(fields: &Fields, key: &ApiKey, sign_type: SignType) -> String {
    match sign_type {
        SignType::Md5 => {
            let mut hasher = Md5::new();
            feed(fields, key, |bytes| hasher.update(bytes));
            hex::upper(&hasher.finalize())
        }
        SignType::HmacSha256 => {
            let mut hasher = Hmac::<Sha256>::new_from_slice(key.as_bytes())
                .expect("HMAC takes a key of any length");
            feed(fields, key, |bytes| hasher.update(bytes));
            hex::upper(&hasher.finalize().into_bytes())
        }
    }
}

/// Verifies a received message over **all** its elements, known or not, in constant time, and says
/// which algorithm it was signed with. Lower-case hex is accepted.
///
/// The raw texts are tried first and, where one begins or ends with white space, the trimmed ones:
/// WeChat's own SDK trims what it hashes (reference 1.1, "Whitespace").
///
/// The string to sign escapes nothing, so it does not say where one text ends and the next element
/// begins; [`crate::Payment::from_fields`] guards the elements that are money.
///
/// # Errors
/// When the message is not authentic under this key.
pub fn verify(fields: &Fields, key: &ApiKey) -> Result<SignType, SignatureError> {
    verify_as_signed(fields, key).map(|(sign_type, _)| sign_type)
}

/// [`verify`], with the texts that the signature is over: the received ones, or the trimmed ones.
/// White space that was not signed is not read either.
pub(crate) fn verify_as_signed<'a>(
    fields: &'a Fields,
    key: &ApiKey,
) -> Result<(SignType, Cow<'a, Fields>), SignatureError> {
    let received = fields
        .get("sign")
        .map(str::trim_ascii)
        .filter(|sign| !sign.is_empty())
        .ok_or(SignatureError::Missing)?
        .to_ascii_uppercase();
    let sign_type = SignType::of_form(&received).ok_or(SignatureError::Form)?;
    if fields.get("sign_type").is_some_and(|named| named.trim_ascii() != sign_type.as_str()) {
        return Err(SignatureError::Form);
    }
    let signs = |view: &Fields| {
        let computed = sign(view, key, sign_type);
        bool::from(computed.as_bytes().ct_eq(received.as_bytes()))
    };
    if signs(fields) {
        return Ok((sign_type, Cow::Borrowed(fields)));
    }
    match fields.trimmed() {
        Some(trimmed) if signs(&trimmed) => Ok((sign_type, Cow::Owned(trimmed))),
        _ => Err(SignatureError::Wrong),
    }
}

/// Feeds `name=value&…&key=…` piece by piece, so that the string to sign never stands in memory.
fn feed(fields: &Fields, key: &ApiKey, mut update: impl FnMut(&[u8])) {
    for (name, text) in fields.iter() {
        if name == "sign" || text.is_empty() {
            continue;
        }
        update(name.as_bytes());
        update(b"=");
        update(text.as_bytes());
        update(b"&");
    }
    update(b"key=");
    update(key.as_bytes());
}
