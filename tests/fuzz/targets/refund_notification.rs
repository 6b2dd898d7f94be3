//! Only text encrypted with the key decrypts, and it is parsed as every other message is.

#![no_main]

use aes::Aes256;
use aes::cipher::{Block, BlockCipherEncrypt, KeyInit};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fuzz::{key, other_key};
use libfuzzer_sys::fuzz_target;
use md5::{Digest, Md5};
use wechatpay_v2::refund_notification::{Received, RefundError};
use wechatpay_v2::{Fields, Limits, parse_xml, write_xml};

fuzz_target!(|input: &[u8]| {
    if let Ok(received) = Received::parse(input) {
        let _ = received.decrypt(&key());
        let _ = received.mch_id();
    }
    // The input as `req_info`.
    if let Ok(text) = std::str::from_utf8(input)
        && let Some(received) = notification(text)
    {
        let _ = received.decrypt(&key());
    }
    // The input as the text that WeChat encrypted.
    let encrypted = STANDARD.encode(encrypt(input));
    let Some(received) = notification(&encrypted) else {
        assert!(encrypted.len() > Limits::MESSAGE.bytes / 2, "only a long text does not fit");
        return;
    };
    let inner = received.decrypt(&key());
    assert_ne!(inner, Err(RefundError::Undecryptable));
    assert!(received.decrypt(&other_key()).is_err());
    // The same under another root, unless the text contains a root itself.
    let inside = input.strip_prefix(b"<root>").and_then(|rest| rest.strip_suffix(b"</root>"));
    if let Some(inside) =
        inside.filter(|inside| !contains(inside, b"root") && !contains(inside, b"xml"))
    {
        let message = [b"<xml>", inside, b"</xml>"].concat();
        assert_eq!(inner, parse_xml(&message, Limits::MESSAGE).map_err(RefundError::from));
    }
});

fn notification(req_info: &str) -> Option<Received> {
    let fields: Fields = [("return_code", "SUCCESS"), ("req_info", req_info)].into_iter().collect();
    Received::parse(write_xml(&fields).as_bytes()).ok()
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}

/// Encrypts as WeChat does: AES-256-ECB with PKCS#7 padding, under the MD5 of the key.
fn encrypt(plain: &[u8]) -> Vec<u8> {
    let digits =
        Md5::digest(fuzz::KEY).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let cipher = Aes256::new_from_slice(digits.as_bytes()).expect("a key of 32 bytes");
    let padding = 16 - plain.len() % 16;
    let mut bytes = plain.to_vec();
    bytes.extend(std::iter::repeat_n(padding as u8, padding));
    let (blocks, _) = Block::<Aes256>::slice_as_chunks_mut(&mut bytes);
    cipher.encrypt_blocks(blocks);
    bytes
}
