//! The ingress checks only the shape of a notification. It accepts everything that the worker can
//! read: otherwise a valid notification would be refused forever.

#![no_main]

use fuzz as _;
use libfuzzer_sys::fuzz_target;
use wechatpay_v2::{Limits, XmlError, parse_xml};

#[path = "../../../crates/ingress/src/routes/notification_shape.rs"]
mod notification_shape;

fuzz_target!(|input: &[u8]| {
    let shape = notification_shape::check(input);
    match parse_xml(input, Limits::MESSAGE) {
        // The ingress wants a root or a declaration first. WeChat's documents always begin so.
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
