//! A signed message verifies with its key and algorithm only. A changed byte never verifies with
//! another meaning. An unsigned message never verifies.

#![no_main]

use fuzz::{SIGN_TYPES, is_a_sample, key, meaning, other_key, signed, split};
use libfuzzer_sys::fuzz_target;
use wechatpay_v2::{Limits, parse_xml, verify, write_xml};

fuzz_target!(|input: &[u8]| {
    let (message, mut choices) = split(input);
    let Ok(fields) = parse_xml(message, Limits::MESSAGE) else {
        return;
    };
    assert!(verify(&fields, &other_key()).is_err());
    if verify(&fields, &key()).is_ok() {
        assert!(is_a_sample(&fields), "a forgery");
    }
    let sign_type = SIGN_TYPES[choices.below(2)];
    let fields = signed(fields, sign_type);
    let mut written = write_xml(&fields).into_bytes();
    let limits = Limits { bytes: written.len(), elements: Limits::MESSAGE.elements + 1 };
    let read = parse_xml(&written, limits).expect("a written message parses");
    assert_eq!(verify(&read, &key()), Ok(sign_type));
    assert!(verify(&read, &other_key()).is_err());

    let at = choices.below(written.len());
    written[at] = choices.byte();
    if let Ok(changed) = parse_xml(&written, limits)
        && verify(&changed, &key()).is_ok()
    {
        assert_eq!(meaning(&changed), meaning(&fields));
    }
    let mut lower = fields.clone();
    lower.insert("sign", fields.get("sign").unwrap_or_default().to_ascii_lowercase());
    assert_eq!(verify(&lower, &key()), Ok(sign_type));
    lower.remove("sign");
    assert!(verify(&lower, &key()).is_err(), "unsigned");
});
