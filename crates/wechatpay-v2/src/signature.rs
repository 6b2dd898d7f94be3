//! Signing and verification ([protocol](crate::protocol#signing)).

use std::borrow::Cow;

use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::{ApiKey, FieldError, Fields, hex};

/// The algorithm of a signature.
///
/// An order keeps the algorithm of its `unifiedorder` call: the answer and the notification are
/// signed with the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum SignType {
    /// 32 hex digits. WeChat assumes it if `sign_type` is absent.
    #[default]
    #[serde(rename = "MD5")]
    Md5,
    /// 64 hex digits, keyed with the API key.
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

    fn from_length(signature: &str) -> Option<Self> {
        if !signature.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        match signature.len() {
            32 => Some(Self::Md5),
            64 => Some(Self::HmacSha256),
            _ => None,
        }
    }
}

/// Why a message is not authentic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// `sign` is absent or blank.
    #[error("there is no sign")]
    Missing,
    /// `sign` is neither 32 nor 64 hex digits, or disagrees with the message's own `sign_type`.
    #[error("sign has the form of no known algorithm")]
    Form,
    /// `sign` is not the signature of this message under this key.
    #[error("sign does not verify")]
    Wrong,
}

/// Computes the signature of a message, in upper-case hex.
///
/// It covers every element except `sign` and except elements with an empty text.
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

/// Verifies a received message over **all** its elements, known or not, and returns the algorithm
/// it was signed with. The comparison takes constant time. Lower-case hex is accepted.
///
/// The received texts are tried first. If that fails and some have outer white space, the trimmed
/// texts are tried, because WeChat's own SDK trims what it hashes.
///
/// The string to sign escapes nothing, so a signature does not show where one text ends and the next
/// element begins. [`Payment::from_fields`](crate::Payment::from_fields) refuses messages that use
/// this.
///
/// # Errors
/// When the key does not verify the message.
pub fn verify(fields: &Fields, key: &ApiKey) -> Result<SignType, SignatureError> {
    verify_as_signed(fields, key).map(|(sign_type, _)| sign_type)
}

// Also returns the texts that were signed, received or trimmed: unsigned white space is not read.
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
    let sign_type = SignType::from_length(&received).ok_or(SignatureError::Form)?;
    if fields.get("sign_type").is_some_and(|named| named.trim_ascii() != sign_type.as_str()) {
        return Err(SignatureError::Form);
    }
    let matches = |candidate: &Fields| {
        let computed = sign(candidate, key, sign_type);
        bool::from(computed.as_bytes().ct_eq(received.as_bytes()))
    };
    if matches(fields) {
        return Ok((sign_type, Cow::Borrowed(fields)));
    }
    match fields.trimmed() {
        Some(trimmed) if matches(&trimmed) => Ok((sign_type, Cow::Owned(trimmed))),
        _ => Err(SignatureError::Wrong),
    }
}

// Feeds `name=value&…&key=…` piece by piece, so that the string to sign, which contains the key, is
// never in memory.
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
