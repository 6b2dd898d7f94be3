//! A parsed message can be written and parsed again, and contains nothing that XML or WeChat forbids.

#![no_main]

use fuzz as _;
use libfuzzer_sys::fuzz_target;
use wechatpay_v2::{Limits, XmlError, parse_xml, write_xml};

const SMALL: Limits = Limits { bytes: 200, elements: 3 };

fuzz_target!(|input: &[u8]| {
    let read = parse_xml(input, Limits::MESSAGE);
    let Ok(fields) = &read else {
        return;
    };
    assert!(input.len() <= Limits::MESSAGE.bytes && fields.len() <= Limits::MESSAGE.elements);
    for (name, text) in fields.iter() {
        assert!(name.len() <= 64 && !name.starts_with(|c: char| c.is_ascii_digit()));
        assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b)), "{name:?}");
        assert!(text.chars().all(|c| c >= ' ' || "\t\n\r".contains(c)), "{text:?}");
        assert!(!text.contains(['\u{fffe}', '\u{ffff}']), "{text:?}");
    }
    let written = write_xml(fields);
    // Escapes are longer than the characters that they replace.
    let again = Limits { bytes: written.len(), ..Limits::MESSAGE };
    assert_eq!(parse_xml(written.as_bytes(), again).as_ref(), Ok(fields));
    check_extra_part(&written, again);

    match parse_xml(input, SMALL) {
        Ok(small) => assert!(small == *fields && input.len() <= 200 && small.len() <= 3),
        Err(XmlError::TooLarge(_)) => assert!(input.len() > SMALL.bytes),
        Err(XmlError::TooManyElements(_)) => assert!(fields.len() > SMALL.elements),
        Err(other) => panic!("a smaller limit must not change other errors: {other}"),
    }
});

/// A valid message with one more part is invalid.
fn check_extra_part(written: &str, limits: Limits) {
    // One more element must fit, with its name twice.
    let limits = Limits { bytes: limits.bytes + 256, elements: limits.elements + 1 };
    let parse = |text: &str| parse_xml(text.as_bytes(), limits);
    let inside = |more: &str| {
        let elements = written.strip_suffix("</xml>").expect("a written message");
        parse(&format!("{elements}{more}</xml>"))
    };
    let fields = parse(written).unwrap_or_default();
    if let Some((first, _)) = fields.iter().next() {
        assert_eq!(inside(&format!("<{first}>1</{first}>")), Err(XmlError::Repeated));
    }
    assert_eq!(inside("<a><b>1</b></a>"), Err(XmlError::Nested));
    assert_eq!(inside("1"), Err(XmlError::Unexpected("text between elements")));
    assert_eq!(parse(&format!("{written}<xml></xml>")), Err(XmlError::Trailing));
    assert_eq!(parse(&format!("<!DOCTYPE xml>{written}")), Err(XmlError::Doctype));
    assert_eq!(parse(&written[..written.len() - 1]), Err(XmlError::Malformed));
}
