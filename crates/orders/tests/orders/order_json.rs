//! A shop's JSON at the door: every field's rule, at its boundary (design 6, reference 2.2, 4.4 to
//! 4.7).

#![allow(clippy::unwrap_used, reason = "a sample that does not parse fails the test")]

mod sample;

use orders::{FieldProblem, InvalidOrder, ORDER_BYTES_MAX, OrderKey, OrderRequest};
use sample::{OPENID, body, sub_body, with};
use serde_json::{Value, json};
use time::macros::datetime;
use wechatpay_v2::unifiedorder::TradeType;

const FIELDS: [&str; 20] = [
    "mch_id",
    "appid",
    "out_trade_no",
    "trade_type",
    "body",
    "total_fee",
    "spbill_create_ip",
    "openid",
    "product_id",
    "scene_info",
    "attach",
    "detail",
    "goods_tag",
    "limit_pay",
    "device_info",
    "receipt",
    "time_expire",
    "sub_mch_id",
    "sub_appid",
    "sub_openid",
];

/// Every field at once.
fn full_body() -> Value {
    let mut full = sub_body();
    for (field, value) in [
        ("trade_type", "JSAPI"),
        ("product_id", "P-1001"),
        ("scene_info", r#"{"store_info":{"id":"7","name":"极光小店"}}"#),
        ("attach", "shop=7;src=mini"),
        ("detail", r#"{"goods_detail":[{"goods_id":"7","quantity":1,"price":9900}]}"#),
        ("goods_tag", "WXG"),
        ("limit_pay", "no_credit"),
        ("device_info", "WEB"),
        ("receipt", "Y"),
        ("time_expire", "2026-07-21T20:30:00.75+08:00"),
        ("sub_openid", "oSubDemoUser"),
    ] {
        full[field] = json!(value);
    }
    full
}

fn parse(body: &Value) -> Result<OrderRequest, InvalidOrder> {
    OrderRequest::parse(body.to_string().as_bytes())
}

/// The wrong fields and their rules. Whatever is said about them is held to the rules for texts
/// that leave the house.
fn errors(body: &Value) -> Vec<FieldProblem> {
    let invalid = parse(body).expect_err(&format!("taken: {body}"));
    let InvalidOrder::Fields { errors, .. } = &invalid else {
        panic!("{invalid:?}: {body}");
    };
    assert!(!errors.is_empty());
    let problem = invalid.clone().into_problem();
    assert_eq!((problem.status, &problem.errors), (422, errors));
    for error in errors {
        assert!(!error.field.is_empty() && error.rule.len() > 4, "{error:?}");
    }
    errors.clone()
}

fn wrong_fields(body: &Value) -> Vec<String> {
    errors(body).into_iter().map(|error| error.field).collect()
}

#[track_caller]
fn takes(field: &str, value: impl Into<Value>) {
    let body = with(full_body(), field, value.into());
    let taken = parse(&body);
    assert!(taken.is_ok(), "{taken:?}: {body}");
}

#[track_caller]
fn refuses(field: &str, value: impl Into<Value>) -> String {
    let mut body = full_body();
    body[field] = value.into();
    let errors = errors(&body);
    assert_eq!(errors.len(), 1, "{errors:?}: {body}");
    assert_eq!(errors[0].field, field);
    errors[0].rule.clone()
}

#[test]
fn every_field_is_read() {
    let order = parse(&full_body()).unwrap();
    let wire = serde_json::to_value(&order).unwrap();
    let mut expected = full_body();
    expected["time_expire"] = json!("2026-07-21T12:30:00Z");
    assert_eq!(wire, expected);
    assert_eq!(wire.as_object().unwrap().len(), FIELDS.len());
    assert_eq!(
        order.time_expire,
        Some(datetime!(2026-07-21 12:30:00 UTC)),
        "cut to the second that WeChat reads"
    );

    let smallest = parse(&body()).unwrap();
    assert_eq!(smallest.trade_type, TradeType::Jsapi);
    assert_eq!(smallest.total_fee.get(), 9900);
    assert_eq!(smallest.openid.unwrap().as_str(), OPENID);
    assert_eq!(smallest.time_expire, None);
}

/// The fields that are texts, with the most bytes that they take.
const TEXTS: [(&str, usize); 7] = [
    ("body", 127),
    ("attach", 127),
    ("product_id", 32),
    ("goods_tag", 32),
    ("device_info", 32),
    ("scene_info", 256),
    ("detail", 6000),
];

/// A text for `field` of exactly so many bytes, with as many characters of three as fit.
fn text_of(field: &str, bytes: usize, wide: bool) -> String {
    let (before, after) = match field {
        "scene_info" | "detail" => (r#"{"a":""#, r#""}"#),
        _ => ("", ""),
    };
    let room = bytes - before.len() - after.len();
    let wide = if wide { room / 3 } else { 0 };
    let narrow = room - 3 * wide;
    let text = format!("{before}{}{}{after}", "极".repeat(wide), "x".repeat(narrow));
    assert_eq!(text.len(), bytes);
    text
}

#[test]
fn a_text_is_as_long_as_its_bytes() {
    for (field, bytes_max) in TEXTS {
        for wide in [false, true] {
            takes(field, text_of(field, bytes_max, wide));
            let rule = refuses(field, text_of(field, bytes_max + 1, wide));
            assert!(rule.contains(&format!("1 to {bytes_max} bytes")), "{rule}");
        }
        refuses(field, "");
        refuses(field, text_of(field, bytes_max, true) + "极");
    }
}

#[test]
fn an_identifier_has_its_length_and_its_characters() {
    for (field, shortest, longest) in [
        ("mch_id", 1, 32),
        ("appid", 1, 32),
        ("out_trade_no", 6, 32),
        ("openid", 1, 128),
        ("sub_mch_id", 1, 32),
        ("sub_appid", 1, 32),
        ("sub_openid", 1, 128),
    ] {
        takes(field, "7".repeat(shortest));
        takes(field, "7".repeat(longest));
        refuses(field, "7".repeat(shortest - 1));
        refuses(field, "7".repeat(longest + 1));
        for character in [" ", "/", "|", "*", "@", ".", "\0", "\n", "é", "７", "🌸"] {
            refuses(field, format!("777{character}777"));
        }
    }
    for character in ["_", "-", "a", "Z"] {
        takes("out_trade_no", format!("777{character}777"));
        takes("openid", format!("777{character}777"));
        refuses("mch_id", format!("777{character}777"));
    }
    refuses("out_trade_no", "SO 20260721");
    refuses("out_trade_no", "SO/20260721");
    refuses("out_trade_no", "12345");
    refuses("out_trade_no", " SO20260721");
    refuses("out_trade_no", "SO20260721\n");
}

#[test]
fn no_field_takes_another_type() {
    let nested = json!({ "value": OPENID });
    let others = [
        json!(20_260_721),
        json!(-1),
        json!(1.5),
        json!(true),
        Value::Null,
        json!([OPENID]),
        nested,
    ];
    for field in FIELDS {
        let others = others.iter().filter(|value| {
            // The one number that is a number of fen.
            field != "total_fee" || value.as_u64().is_none()
        });
        for other in others {
            refuses(field, other.clone());
        }
    }
    refuses("total_fee", "9900");
}

#[test]
fn every_needed_field_is_asked_for() {
    for field in
        ["mch_id", "appid", "out_trade_no", "body", "total_fee", "spbill_create_ip", "openid"]
    {
        assert_eq!(wrong_fields(&with(body(), field, Value::Null)), [field]);
    }
    assert_eq!(
        wrong_fields(&json!({})),
        ["openid", "mch_id", "appid", "out_trade_no", "body", "total_fee", "spbill_create_ip",]
    );
}

#[test]
fn total_fee_is_a_whole_number_of_fen() {
    let priced = |price: &str| {
        body().to_string().replace("\"total_fee\":9900", &format!("\"total_fee\":{price}"))
    };
    for good in ["1", "9900", "9007199254740991"] {
        let text = priced(good);
        let order = OrderRequest::parse(text.as_bytes()).unwrap();
        assert_eq!(order.total_fee.to_string(), good);
    }
    for bad in [
        "0",
        "-0",
        "-1",
        "1.0",
        "9900.0",
        "99.5",
        "1e2",
        "9900E0",
        "0.99e4",
        "9007199254740992",
        "9007199254740993",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775808",
        "-9223372036854775809",
        "18446744073709551615",
        "18446744073709551616",
        "1e300",
        "\"9900\"",
        "\"\"",
        "true",
        "null",
        "[9900]",
    ] {
        let text = priced(bad);
        let invalid = OrderRequest::parse(text.as_bytes()).expect_err(bad);
        let InvalidOrder::Fields { errors, .. } = invalid else {
            panic!("{bad}: {invalid:?}");
        };
        let rule = "a whole number of fen from 1 to 9007199254740991";
        assert_eq!(errors, [FieldProblem::new("total_fee", rule)], "{bad}");
    }
    for no_json in ["09900", "+9900", "0x26AC", "9_900", "1e999", "NaN", "9,9"] {
        let text = priced(no_json);
        let invalid = OrderRequest::parse(text.as_bytes()).expect_err(no_json);
        assert!(matches!(invalid, InvalidOrder::Malformed(_)), "{no_json}");
    }
}

#[test]
fn the_address_is_one_address() {
    for good in ["203.0.113.7", "::1", "2001:db8::7", "::ffff:203.0.113.7"] {
        takes("spbill_create_ip", good);
    }
    for bad in [
        "",
        "localhost",
        "203.0.113",
        "203.0.113.256",
        "203.0.113.007",
        "203.0.113.7:80",
        "[::1]",
        "203.0.113.7, 10.0.0.1",
        " 203.0.113.7",
        "fe80::1%eth0",
        "203.0.113.0/24",
    ] {
        refuses("spbill_create_ip", bad);
    }
}

#[test]
fn time_expire_is_an_instant_that_wechat_can_read() {
    for (good, instant) in [
        ("2026-07-21T12:30:00Z", datetime!(2026-07-21 12:30:00 UTC)),
        ("2026-07-21T20:30:00+08:00", datetime!(2026-07-21 12:30:00 UTC)),
        ("2026-07-21T12:30:00.999999999Z", datetime!(2026-07-21 12:30:00 UTC)),
        ("1970-01-01T00:00:00Z", datetime!(1970-01-01 00:00:00 UTC)),
        ("9999-12-31T23:59:59+08:00", datetime!(9999-12-31 15:59:59 UTC)),
    ] {
        let order = parse(&with(body(), "time_expire", json!(good))).unwrap();
        assert_eq!(order.time_expire, Some(instant), "{good}");
    }
    for bad in [
        "",
        "20260721203000",
        "2026-07-21",
        "2026-07-21T12:30:00",
        "2026-07-21T12:30Z",
        "2026-02-30T12:30:00Z",
        "2026-07-21T25:30:00Z",
        "2026-07-21T12:30:00+99:00",
        "1784637000",
        "tomorrow",
        // Existing instants that WeChat's fourteen digits cannot hold: moving them would be worse.
        "1969-12-31T23:59:59.5Z",
        "0000-01-01T00:00:00+08:00",
        "9999-12-31T16:00:00Z",
        "9999-12-31T23:59:59-12:00",
        "10000-01-01T00:00:00Z",
    ] {
        refuses("time_expire", bad);
    }
}

#[test]
fn a_literal_is_that_literal() {
    for (field, good) in [("trade_type", "JSAPI"), ("limit_pay", "no_credit"), ("receipt", "Y")] {
        takes(field, good);
        for bad in ["", "jsapi", "MICROPAY", "NO_CREDIT", "N", " JSAPI", "Y ", "no_credit\n"] {
            refuses(field, bad);
        }
    }
}

#[test]
fn a_text_arrives_as_it_was_sent() {
    for (field, _) in TEXTS {
        let put = |character: char| {
            let text = match field {
                // Raw in the JSON text inside, where JSON allows it.
                "scene_info" | "detail" => format!(r#"{{"a":"x{character}x"}}"#),
                _ => format!("x{character}x"),
            };
            json!(text)
        };
        for forbidden in [
            '\0', '\t', '\n', '\r', '\u{1b}', '\u{7f}', '\u{85}', '\u{9f}', '\u{2028}', '\u{2029}',
            '\u{202a}', '\u{202e}', '\u{2066}', '\u{2069}', '\u{fffe}', '\u{ffff}',
        ] {
            refuses(field, put(forbidden));
        }
        // Legal, and the same on both sides. Some scripts cannot be written without the joiners.
        for allowed in ['<', '&', ']', '\'', '\u{a0}', '\u{200b}', '\u{200d}', '，'] {
            takes(field, put(allowed));
        }
        for outer in [' ', '\u{a0}', '\u{3000}', '\u{200b}', '\u{2060}', '\u{feff}'] {
            let text = text_of(field, 20, false);
            refuses(field, format!("{outer}{text}"));
            refuses(field, format!("{text}{outer}"));
        }
    }
    for beyond in ["🌸", "𠮷"] {
        assert!(refuses("body", format!("花{beyond}")).contains("emoji"));
        takes("attach", format!("花{beyond}"));
    }
}

/// WeChat gives these two back with the payment, and what is refused there must be refused here.
#[test]
fn what_comes_back_with_the_payment_must_be_readable_then() {
    for field in ["attach", "device_info"] {
        for bad in ["<!DOCTYPE-", "a<!doctype xml>", "<!EnTiTy x", "a&fee_type=CNY"] {
            assert!(refuses(field, bad).contains("&fee_type="));
        }
        for good in ["a&b=1", "fee_type=CNY", "&amp;", "<!--", "<![CDATA[a]]>", "]]>"] {
            takes(field, good);
        }
    }
    for pair in ["mch_id", "out_trade_no", "result_code", "time_end", "total_fee"] {
        refuses("device_info", format!("a&{pair}=1"));
        takes("attach", format!("a&{pair}=1"));
    }
    takes("body", "a <!DOCTYPE &fee_type=CNY");
}

#[test]
fn detail_and_scene_info_are_json_objects_in_a_text() {
    for field in ["detail", "scene_info"] {
        for good in ["{}", r#"{"a":[1,{"b":null}]}"#, r#"{"a":"\u000a"}"#] {
            takes(field, good);
        }
        for bad in
            ["x", "[]", "\"{}\"", "null", "{", "{}{}", "{'a':1}", r#"{"a":1,}"#, r#"{"a":1,"a":2}"#]
        {
            refuses(field, bad);
        }
        let deep = |levels| format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
        takes(field, deep(40));
        refuses(field, deep(200));
        refuses(field, format!("{{\"a\":{}", "[".repeat(200)));
    }
    refuses("detail", format!("{{\"a\":{}", "[".repeat(5900)));
}

#[test]
fn fields_that_need_each_other() {
    let without = |trade_type: &str, gone: &str| {
        let body = with(full_body(), "trade_type", json!(trade_type));
        with(body, gone, Value::Null)
    };
    for (trade_type, needs) in [("NATIVE", "product_id"), ("MWEB", "scene_info")] {
        assert_eq!(wrong_fields(&without(trade_type, needs)), [needs]);
        assert!(parse(&without(trade_type, "openid")).is_ok());
    }
    for gone in ["product_id", "scene_info", "openid"] {
        assert!(parse(&without("APP", gone)).is_ok());
    }

    // The payer under either app will do, and one of them is needed.
    assert!(parse(&without("JSAPI", "openid")).is_ok());
    assert!(parse(&without("JSAPI", "sub_openid")).is_ok());
    let nobody = with(without("JSAPI", "openid"), "sub_openid", Value::Null);
    assert_eq!(wrong_fields(&nobody), ["openid"]);
    let default = with(nobody, "trade_type", Value::Null);
    assert_eq!(wrong_fields(&default), ["openid"]);

    assert_eq!(wrong_fields(&without("JSAPI", "sub_appid")), ["sub_appid"]);
    assert_eq!(wrong_fields(&without("JSAPI", "sub_mch_id")), ["sub_mch_id"]);
}

/// A field that is there but wrong is told about once, under its own name.
#[test]
fn a_wrong_field_accuses_no_other() {
    let body = with(body(), "openid", Value::Null);
    let no_type = with(body.clone(), "trade_type", json!("NATVE"));
    assert_eq!(wrong_fields(&no_type), ["trade_type"]);
    let wrong_payer = with(body, "sub_openid", json!("not an openid"));
    assert_eq!(wrong_fields(&wrong_payer), ["sub_appid", "sub_openid"]);
    let wrong_product = with(full_body(), "trade_type", json!("NATIVE"));
    let wrong_product = with(wrong_product, "product_id", json!(""));
    assert_eq!(wrong_fields(&wrong_product), ["product_id"]);
}

#[test]
fn all_wrong_fields_are_named_at_once() {
    let mut all = full_body();
    for field in FIELDS {
        all[field] = json!([]);
    }
    all["total"] = json!(1);
    all["notify_url"] = json!("https://example.com/");
    let mut named = wrong_fields(&all);
    named.sort();
    let mut expected: Vec<String> = FIELDS.map(str::to_owned).to_vec();
    expected.extend(["total".to_owned(), "notify_url".to_owned()]);
    expected.sort();
    assert_eq!(named, expected);

    // Rules that span fields are not kept for the second attempt.
    let both = with(with(body(), "openid", Value::Null), "body", Value::Null);
    assert_eq!(wrong_fields(&both), ["openid", "body"]);
}

#[test]
fn unknown_fields_are_refused_by_name() {
    for unknown in ["notify_url", "Body", "totalFee", "sign", "fee_type", "state", "body ", ""] {
        let mut body = body();
        body[unknown] = json!(OPENID);
        let invalid = parse(&body).unwrap_err();
        let expected = FieldProblem::new(unknown, "left out: it is no field of this message");
        assert_eq!(invalid.into_problem().errors, [expected]);
    }
}

/// Names of theirs end in tables, events and on terminals.
#[test]
fn the_name_of_an_unknown_field_is_repeated_within_bounds() {
    let echoed = |name: &str| {
        let mut body = body();
        body[name] = json!(1);
        errors(&body).remove(0).field
    };
    assert_eq!(echoed("a\0b\u{1b}[2Jc\u{202e}d"), "a�b�[2Jc�d");
    assert_eq!(echoed(&"名".repeat(64)), "名".repeat(64));
    assert_eq!(echoed(&"名".repeat(65)), "名".repeat(64));
    assert_eq!(echoed(&"x".repeat(60_000)), "x".repeat(64));
}

#[test]
fn the_list_of_problems_is_bounded() {
    let unknown = |count: usize| {
        let mut body = body();
        for n in 0..count {
            body[format!("f{n:03}")] = json!(1);
        }
        body
    };
    let listed = errors(&unknown(32));
    assert_eq!(listed.len(), 32);
    assert_eq!(listed[31].field, "f031");

    let cut = errors(&unknown(4000));
    assert_eq!(cut.len(), 32);
    assert_eq!(cut[30].field, "f030");
    let rest = FieldProblem::new("*", "left out: 3969 more are no fields of this message");
    assert_eq!(cut[31], rest);

    // What is wrong with our own fields is never crowded out.
    let mut all = unknown(1000);
    for field in FIELDS {
        all[field] = json!([]);
    }
    let named = wrong_fields(&all);
    assert_eq!(named.len(), 32);
    assert!(FIELDS.iter().all(|f| named.contains(&(*f).to_owned())));
    let problem = parse(&all).unwrap_err().into_problem();
    assert!(serde_json::to_string(&problem).unwrap().len() < 16 * 1024);
}

#[test]
fn a_name_that_appears_twice_is_refused() {
    let order = body().to_string();
    for twice in [
        order.replacen('{', r#"{"total_fee":9900,"#, 1),
        order.replacen('{', r#"{"total_fee":1,"#, 1),
        order.replacen('{', r#"{"total\u005ffee":1,"#, 1),
        order.replacen('}', r#","openid":"oSomebodyElse"}"#, 1),
        order.replacen('{', r#"{"x":1,"x":1,"#, 1),
    ] {
        let invalid = OrderRequest::parse(twice.as_bytes()).expect_err(&twice);
        let rule = "not one JSON object with each name once";
        assert_eq!(invalid, InvalidOrder::Malformed(rule), "{twice}");
    }
}

#[test]
fn what_is_no_json_object_is_malformed() {
    let order = body().to_string();
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
        let InvalidOrder::Malformed(what) = invalid else {
            panic!("{invalid:?}: {shown}");
        };
        let problem = invalid.into_problem();
        assert_eq!((problem.status, problem.detail.as_deref()), (400, Some(what)));
        assert!(!what.contains(OPENID) && problem.errors.is_empty());
    }
}

#[test]
fn a_body_has_the_largest_size_of_any_order_and_no_more() {
    let padded = |bytes: usize| {
        let order = body().to_string();
        let padding = " ".repeat(bytes - order.len());
        OrderRequest::parse((order + &padding).as_bytes())
    };
    assert!(padded(ORDER_BYTES_MAX).is_ok());
    let larger = InvalidOrder::Malformed("larger than 65536 bytes");
    assert_eq!(padded(ORDER_BYTES_MAX + 1), Err(larger));

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

/// Neither what is shown to shops nor what a log line would hold repeats a value.
#[test]
fn no_error_repeats_a_value() {
    let secret = "oSECRETopenid0000000000000000";
    let values = [
        json!(format!(" {secret}")),
        json!(format!("{secret}\n")),
        json!(secret.repeat(300)),
        json!([secret]),
        json!({ secret: secret }),
    ];
    for field in FIELDS.iter().chain(&["unknown"]) {
        for value in &values {
            let mut body = full_body();
            body[*field] = value.clone();
            let invalid = parse(&body).unwrap_err();
            let shown = format!(
                "{invalid:?} {invalid:#?} {}",
                serde_json::to_string(&invalid.clone().into_problem()).unwrap()
            );
            assert!(!shown.contains("SECRET"), "{field}: {shown}");
            assert!(shown.contains(field));
        }
    }
    let broken = format!("{{\"openid\":\"{secret}\",\"openid\":\"{secret}\"}}");
    for text in [broken.as_str(), &broken[..40], &broken.replace(':', "")] {
        let invalid = OrderRequest::parse(text.as_bytes()).unwrap_err();
        assert!(!format!("{invalid:?} {:?}", invalid.clone().into_problem()).contains("SECRET"));
    }
    let taken = parse(&with(full_body(), "openid", json!(secret))).unwrap();
    assert!(!format!("{taken:?}").contains("SECRET"));
}

/// The sender of a wrong order is told about it by number, so the number is found even then.
#[test]
fn a_wrong_order_still_has_a_number() {
    let number = |body: &Value| match parse(body).unwrap_err() {
        InvalidOrder::Fields { mch_id, out_trade_no, .. } => {
            (mch_id.map(|id| id.to_string()), out_trade_no)
        }
        malformed => panic!("{malformed:?}"),
    };
    let numbered = |mch_id: Value, out_trade_no: Value| {
        let body = with(body(), "total_fee", json!(0));
        number(&with(with(body, "mch_id", mch_id), "out_trade_no", out_trade_no))
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        numbered(json!("1699000001"), json!("SO20260721A0001")),
        (some("1699000001"), some("SO20260721A0001"))
    );
    assert_eq!(numbered(json!("x"), json!("a/b\0\u{202e}")), (None, some("a/b��")));
    assert_eq!(numbered(json!("1"), json!("号".repeat(65))), (some("1"), Some("号".repeat(64))));
    assert_eq!(numbered(json!(1), json!(2)), (None, None));
    assert_eq!(numbered(Value::Null, Value::Null), (None, None));
}

#[test]
fn a_key_is_read_by_the_same_rules() {
    let parse = |value: Value| OrderKey::parse(value.to_string().as_bytes());
    let key = parse(json!({ "mch_id": "1699000001", "out_trade_no": "SO20260721A0001" })).unwrap();
    assert_eq!(key.to_string(), "1699000001/SO20260721A0001");
    assert_eq!(key, sample::request(&body()).key());

    let invalid =
        parse(json!({ "mch_id": 1, "out_trade_no": "a b", "x": OPENID })).expect_err("taken");
    assert!(!format!("{invalid:?}").contains(OPENID));
    let InvalidOrder::Fields { errors, mch_id, out_trade_no } = invalid else {
        panic!("malformed");
    };
    let named: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
    assert_eq!(named, ["mch_id", "out_trade_no", "x"]);
    assert_eq!((mch_id, out_trade_no.as_deref()), (None, Some("a b")));

    let twice = br#"{"mch_id":"1","mch_id":"1","out_trade_no":"SO1234"}"#;
    for malformed in [&b"[]"[..], b"", &twice[..]] {
        let invalid = OrderKey::parse(malformed).expect_err("taken");
        assert!(matches!(invalid, InvalidOrder::Malformed(_)));
    }
}
