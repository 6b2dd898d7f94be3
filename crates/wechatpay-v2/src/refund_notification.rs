//! The refund notification, which is encrypted instead of signed
//! ([protocol](crate::protocol#refund-notifications)).
//!
//! Only the owner of the key can produce a text that decrypts. But ECB protects no integrity: blocks
//! can be moved between messages. Confirm a refund with `refundquery` before acting on it.

use aes::Aes256;
use aes::cipher::{Block, BlockCipherDecrypt, KeyInit};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};
use zeroize::Zeroizing;

use crate::xml::parse_rooted;
use crate::{ApiKey, Fields, Limits, XmlError, hex, parse_xml};

/// A notification that is parsed but not decrypted.
#[derive(Clone, Debug)]
pub struct Received(Fields);

/// Why a refund notification is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefundError {
    /// The outer or the inner document is not flat XML. A wrong key leads here too if the garbage
    /// happens to end like padding (in one of about 250 cases).
    #[error(transparent)]
    Xml(#[from] XmlError),
    /// `return_code` is missing or not `SUCCESS`.
    #[error("return_code is not SUCCESS")]
    ReturnCode,
    /// `req_info` is missing, is not Base64, or does not decrypt with the key.
    #[error("req_info does not decrypt")]
    Undecryptable,
}

impl Received {
    /// Parses the body as it was posted.
    ///
    /// # Errors
    /// When the bytes are no flat XML message, or its `return_code` is not `SUCCESS`.
    pub fn parse(body: &[u8]) -> Result<Self, RefundError> {
        let fields = parse_xml(body, Limits::MESSAGE)?;
        match fields.get("return_code") {
            Some("SUCCESS") => Ok(Self(fields)),
            _ => Err(RefundError::ReturnCode),
        }
    }

    /// The merchant that the message names. Look up the keys by it.
    #[must_use]
    pub fn mch_id(&self) -> Option<&str> {
        self.0.get("mch_id")
    }

    /// Decrypts and parses the inner document.
    ///
    /// # Errors
    /// When `req_info` does not decrypt to a flat document with the root `<root>`.
    pub fn decrypt(&self, key: &ApiKey) -> Result<Fields, RefundError> {
        parse_rooted(&self.plaintext(key)?, Limits::MESSAGE, "root").map_err(RefundError::from)
    }

    // AES-256-ECB with PKCS#7 padding. The AES key is the text of the API key's MD5: 32 lower-case
    // hex digits, 32 bytes.
    fn plaintext(&self, key: &ApiKey) -> Result<Vec<u8>, RefundError> {
        let req_info = self.0.get("req_info").ok_or(RefundError::Undecryptable)?;
        let req_info: String = req_info.split_ascii_whitespace().collect();
        let mut bytes = STANDARD.decode(req_info).map_err(|_| RefundError::Undecryptable)?;
        let aes_key = Zeroizing::new(hex::lower(&Md5::digest(key.as_bytes())));
        let cipher =
            Aes256::new_from_slice(aes_key.as_bytes()).expect("32 hex digits are an AES-256 key");
        let (blocks, rest) = Block::<Aes256>::slice_as_chunks_mut(&mut bytes);
        if blocks.is_empty() || !rest.is_empty() {
            return Err(RefundError::Undecryptable);
        }
        cipher.decrypt_blocks(blocks);
        unpad(bytes)
    }
}

fn unpad(mut bytes: Vec<u8>) -> Result<Vec<u8>, RefundError> {
    let padding = bytes.last().copied().unwrap_or(0);
    let length = bytes
        .len()
        .checked_sub(usize::from(padding))
        .filter(|length| {
            (1..=16).contains(&padding) && bytes[*length..].iter().all(|b| *b == padding)
        })
        .ok_or(RefundError::Undecryptable)?;
    bytes.truncate(length);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sample_decrypts_to_its_plaintext_byte_for_byte() {
        let key = ApiKey::parse("OrderWorkerDemoKeyV2Only00000002").unwrap();
        for (refund, plain) in [
            (
                &include_bytes!("../tests/samples/RN1.refund.xml")[..],
                &include_bytes!("../tests/samples/RN1-plain.plain.xml")[..],
            ),
            (
                include_bytes!("../tests/samples/RN2.refund.xml"),
                include_bytes!("../tests/samples/RN2-plain.plain.xml"),
            ),
        ] {
            let received = Received::parse(refund).unwrap();
            assert_eq!(received.plaintext(&key).unwrap(), plain);
        }
    }

    #[test]
    fn padding_other_than_1_to_16_equal_bytes_is_refused() {
        let padded = |rest: &[u8]| unpad([&b"0123456789abcdef"[..], rest].concat());
        assert_eq!(padded(&[1]).unwrap(), b"0123456789abcdef");
        assert_eq!(padded(&[2, 2]).unwrap(), b"0123456789abcdef");
        assert_eq!(padded(&[16; 16]).unwrap(), b"0123456789abcdef");
        assert_eq!(unpad(vec![16; 16]).unwrap(), b"");
        for wrong in [&[0][..], &[17; 17], &[1, 2], &[3, 2, 3], &[255]] {
            assert_eq!(padded(wrong), Err(RefundError::Undecryptable), "{wrong:?}");
        }
        for wrong in [vec![], vec![2], vec![4, 4, 4]] {
            assert_eq!(unpad(wrong), Err(RefundError::Undecryptable));
        }
    }
}
