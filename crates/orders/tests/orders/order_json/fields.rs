//! The fields that are no free text, and the key of `order.close` and `order.query`.

use orders::testing::{OPENID, request, sample, with};
use orders::{FieldProblem, InvalidCommand, OrderKey, OrderRequest};
use serde_json::{Value, json};
use time::macros::datetime;
use wechatpay_v2::unifiedorder::TradeType;

use super::{FIELDS, full_body, parse, refuses, takes, wrong_fields};

#[test]
fn full_order_is_read_field_by_field() {
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

    let smallest = parse(&sample()).unwrap();
    assert_eq!(smallest.trade_type, TradeType::Jsapi);
    assert_eq!(smallest.total_fee.get(), 9900);
    assert_eq!(smallest.openid.unwrap().as_str(), OPENID);
    assert_eq!(smallest.time_expire, None);
}

#[test]
fn field_of_another_json_type_is_refused() {
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
            // A whole number is a valid total_fee.
            field != "total_fee" || value.as_u64().is_none()
        });
        for other in others {
            refuses(field, other.clone());
        }
    }
    refuses("total_fee", "9900");
}

#[test]
fn missing_required_field_is_named() {
    for field in
        ["mch_id", "appid", "out_trade_no", "body", "total_fee", "spbill_create_ip", "openid"]
    {
        assert_eq!(wrong_fields(&with(sample(), field, Value::Null)), [field]);
    }
    assert_eq!(
        wrong_fields(&json!({})),
        ["openid", "mch_id", "appid", "out_trade_no", "body", "total_fee", "spbill_create_ip",]
    );
}

#[test]
fn identifier_has_bounded_length_and_characters() {
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
fn total_fee_is_a_whole_number_of_fen() {
    let priced = |price: &str| {
        sample().to_string().replace("\"total_fee\":9900", &format!("\"total_fee\":{price}"))
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
        let InvalidCommand::Fields { errors, .. } = invalid else {
            panic!("{bad}: {invalid:?}");
        };
        let rule = "a whole number of fen from 1 to 9007199254740991";
        assert_eq!(errors, [FieldProblem::new("total_fee", rule)], "{bad}");
    }
    for no_json in ["09900", "+9900", "0x26AC", "9_900", "1e999", "NaN", "9,9"] {
        let text = priced(no_json);
        let invalid = OrderRequest::parse(text.as_bytes()).expect_err(no_json);
        assert!(matches!(invalid, InvalidCommand::Malformed(_)), "{no_json}");
    }
}

#[test]
fn spbill_create_ip_is_one_ip_address() {
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
fn time_expire_is_an_instant_wechat_can_read() {
    for (good, instant) in [
        ("2026-07-21T12:30:00Z", datetime!(2026-07-21 12:30:00 UTC)),
        ("2026-07-21T20:30:00+08:00", datetime!(2026-07-21 12:30:00 UTC)),
        ("2026-07-21T12:30:00.999999999Z", datetime!(2026-07-21 12:30:00 UTC)),
        ("1970-01-01T00:00:00Z", datetime!(1970-01-01 00:00:00 UTC)),
        ("9999-12-31T23:59:59+08:00", datetime!(9999-12-31 15:59:59 UTC)),
    ] {
        let order = parse(&with(sample(), "time_expire", json!(good))).unwrap();
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
        // Instants that WeChat's fourteen digits cannot express.
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
fn literal_field_takes_only_its_literal() {
    for (field, good) in [("trade_type", "JSAPI"), ("limit_pay", "no_credit"), ("receipt", "Y")] {
        takes(field, good);
        for bad in ["", "jsapi", "MICROPAY", "NO_CREDIT", "N", " JSAPI", "Y ", "no_credit\n"] {
            refuses(field, bad);
        }
    }
}

#[test]
fn key_is_read_by_the_same_rules() {
    let parse = |value: Value| OrderKey::parse(value.to_string().as_bytes());
    let key = parse(json!({ "mch_id": "1699000001", "out_trade_no": "SO20260721A0001" })).unwrap();
    assert_eq!(key.to_string(), "1699000001/SO20260721A0001");
    assert_eq!(key, request(&sample()).key());

    let invalid =
        parse(json!({ "mch_id": 1, "out_trade_no": "a b", "x": OPENID })).expect_err("taken");
    assert!(!format!("{invalid:?}").contains(OPENID));
    let InvalidCommand::Fields { errors, mch_id, out_trade_no } = invalid else {
        panic!("malformed");
    };
    let named: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
    assert_eq!(named, ["mch_id", "out_trade_no", "x"]);
    assert_eq!((mch_id, out_trade_no.as_deref()), (None, Some("a b")));

    let twice = br#"{"mch_id":"1","mch_id":"1","out_trade_no":"SO1234"}"#;
    for malformed in [&b"[]"[..], b"", &twice[..]] {
        let invalid = OrderKey::parse(malformed).expect_err("taken");
        assert!(matches!(invalid, InvalidCommand::Malformed(_)));
    }
}
