//! The body as a whole: one JSON object, each name once, of bounded size.

use orders::testing::{OPENID, sample};
use orders::{COMMAND_BYTES_MAX, InvalidCommand, OrderRequest};
use serde_json::json;

use super::{TEXTS, full_body, parse, text_of};

#[test]
fn duplicate_name_is_malformed() {
    let order = sample().to_string();
    for twice in [
        order.replacen('{', r#"{"total_fee":9900,"#, 1),
        order.replacen('{', r#"{"total_fee":1,"#, 1),
        order.replacen('{', r#"{"total\u005ffee":1,"#, 1),
        order.replacen('}', r#","openid":"oAnotherPayer"}"#, 1),
        order.replacen('{', r#"{"x":1,"x":1,"#, 1),
    ] {
        let invalid = OrderRequest::parse(twice.as_bytes()).expect_err(&twice);
        let rule = "not one JSON object with each name once";
        assert_eq!(invalid, InvalidCommand::Malformed(rule), "{twice}");
    }
}

#[test]
fn body_that_is_not_a_json_object_is_malformed() {
    let order = sample().to_string();
    let mut not_utf8 = order.clone().into_bytes();
    let at = order.find("极").unwrap();
    not_utf8[at] = 0xff;
    let mut gbk = order.clone().into_bytes();
    gbk.splice(at..at + "极".len(), [0xbc, 0xab]);
    let bodies: Vec<Vec<u8>> = vec![
        Vec::new(),
        b" \n".to_vec(),
        b"null".to_vec(),
        b"true".to_vec(),
        b"9900".to_vec(),
        format!("{OPENID:?}").into_bytes(),
        b"[]".to_vec(),
        format!("[{order}]").into_bytes(),
        order.as_bytes()[..order.len() - 1].to_vec(),
        format!("{order}x").into_bytes(),
        format!("{order}{order}").into_bytes(),
        format!("{order},").into_bytes(),
        format!("\u{feff}{order}").into_bytes(),
        order.replace('"', "'").into_bytes(),
        order.replace("9900", "").into_bytes(),
        order.replace("鲜花", "\n").into_bytes(),
        order.replace("鲜花", "\\ud800").into_bytes(),
        order.replace("鲜花", "\\x41").into_bytes(),
        not_utf8,
        gbk,
        "[".repeat(60_000).into_bytes(),
        r#"{"a":"#.repeat(13_000).into_bytes(),
        format!(r#"{{"body":{}"#, "[".repeat(60_000)).into_bytes(),
        "[".repeat(100_000).into_bytes(),
        vec![b' '; 1024 * 1024],
        vec![b'{'; 1024 * 1024],
        format!(r#"{{"body":"{}"}}"#, "x".repeat(1024 * 1024)).into_bytes(),
    ];
    for bytes in bodies {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
        let invalid = OrderRequest::parse(&bytes).expect_err(&shown);
        let InvalidCommand::Malformed(what) = invalid else {
            panic!("{invalid:?}: {shown}");
        };
        let problem = invalid.into_problem();
        assert_eq!((problem.status, problem.detail.as_deref()), (400, Some(what)));
        assert!(!what.contains(OPENID) && problem.errors.is_empty());
    }
}

#[test]
fn body_size_limit_fits_the_largest_order() {
    let padded = |bytes: usize| {
        let order = sample().to_string();
        let padding = " ".repeat(bytes - order.len());
        OrderRequest::parse((order + &padding).as_bytes())
    };
    assert!(padded(COMMAND_BYTES_MAX).is_ok());
    let larger = InvalidCommand::Malformed("larger than 65536 bytes");
    assert_eq!(padded(COMMAND_BYTES_MAX + 1), Err(larger));

    // Every field as long as it may be, every character as an escape.
    let mut largest = full_body();
    for (field, bytes_max) in TEXTS {
        largest[field] = json!(text_of(field, bytes_max, false));
    }
    for (field, length) in [("openid", 128), ("sub_openid", 128), ("out_trade_no", 32)] {
        largest[field] = json!("x".repeat(length));
    }
    let escaped: String = largest
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| match value.as_str() {
            Some(text) => {
                let text: String =
                    text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
                format!(",\"{name}\":\"{text}\"")
            }
            None => format!(",\"{name}\":{value}"),
        })
        .collect();
    let escaped = format!("{{{}}}", &escaped[1..]);
    assert!(escaped.len() > 40_000);
    assert_eq!(OrderRequest::parse(escaped.as_bytes()), parse(&largest));
}
