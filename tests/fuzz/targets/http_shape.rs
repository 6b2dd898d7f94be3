//! The ingress looks at a notification from afar, the worker reads it: what the worker can read
//! the ingress lets in, or an honest notification would be refused for ever.

#![no_main]

use fuzz as _;
use libfuzzer_sys::fuzz_target;
use wechatpay_v2::{Limits, XmlError, parse_xml};

#[path = "../../../crates/ingress/src/routes/notification_shape.rs"]
mod notification_shape;

fuzz_target!(|input: &[u8]| {
    let shape = notification_shape::check(input);
    match parse_xml(input, Limits::MESSAGE) {
        // Design 6: a document begins with its root or a declaration. WeChat's always do.
        Ok(_) if begins_with_a_comment(input) => assert_eq!(shape, Err("not XML")),
        Ok(_) => assert_eq!(shape, Ok(())),
        Err(XmlError::Doctype) => assert!(shape.is_err()),
        Err(_) => {}
    }
    if shape == Err("document types and entities are not read") && input.len() <= 64 * 1024 {
        assert_eq!(parse_xml(input, Limits::MESSAGE), Err(XmlError::Doctype));
    }
});

fn begins_with_a_comment(input: &[u8]) -> bool {
    let text = input.strip_prefix(b"\xef\xbb\xbf").unwrap_or(input);
    text.trim_ascii_start().starts_with(b"<!--")
}
