//! The errors of a wrong order: all of them, bounded, and without a value.

use orders::testing::{OPENID, sample, with};
use orders::{FieldProblem, InvalidCommand, OrderRequest};
use serde_json::{Value, json};

use super::{FIELDS, errors, full_body, parse, wrong_fields};

#[test]
fn field_required_by_another_field_is_named() {
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

    // A payer under either app is enough, and one is required.
    assert!(parse(&without("JSAPI", "openid")).is_ok());
    assert!(parse(&without("JSAPI", "sub_openid")).is_ok());
    let no_payer = with(without("JSAPI", "openid"), "sub_openid", Value::Null);
    assert_eq!(wrong_fields(&no_payer), ["openid"]);
    let default = with(no_payer, "trade_type", Value::Null);
    assert_eq!(wrong_fields(&default), ["openid"]);

    assert_eq!(wrong_fields(&without("JSAPI", "sub_appid")), ["sub_appid"]);
    assert_eq!(wrong_fields(&without("JSAPI", "sub_mch_id")), ["sub_mch_id"]);
}

#[test]
fn wrong_field_is_reported_once_under_its_own_name() {
    let body = with(sample(), "openid", Value::Null);
    let no_type = with(body.clone(), "trade_type", json!("NATVE"));
    assert_eq!(wrong_fields(&no_type), ["trade_type"]);
    let wrong_payer = with(body, "sub_openid", json!("not an openid"));
    assert_eq!(wrong_fields(&wrong_payer), ["sub_appid", "sub_openid"]);
    let wrong_product = with(full_body(), "trade_type", json!("NATIVE"));
    let wrong_product = with(wrong_product, "product_id", json!(""));
    assert_eq!(wrong_fields(&wrong_product), ["product_id"]);
}

#[test]
fn all_wrong_fields_are_reported_at_once() {
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

    // Rules that span fields are checked in the same attempt.
    let both = with(with(sample(), "openid", Value::Null), "body", Value::Null);
    assert_eq!(wrong_fields(&both), ["openid", "body"]);
}

#[test]
fn unknown_field_is_refused_by_name() {
    for unknown in ["notify_url", "Body", "totalFee", "sign", "fee_type", "state", "body ", ""] {
        let mut body = sample();
        body[unknown] = json!(OPENID);
        let invalid = parse(&body).unwrap_err();
        let expected = FieldProblem::new(unknown, "absent: this message has no such field");
        assert_eq!(invalid.into_problem().errors, [expected]);
    }
}

/// Foreign names reach tables, events and terminals.
#[test]
fn echoed_field_name_is_bounded_and_printable() {
    let echoed = |name: &str| {
        let mut body = sample();
        body[name] = json!(1);
        errors(&body).remove(0).field
    };
    assert_eq!(echoed("a\0b\u{1b}[2Jc\u{202e}d"), "a�b�[2Jc�d");
    assert_eq!(echoed(&"名".repeat(64)), "名".repeat(64));
    assert_eq!(echoed(&"名".repeat(65)), "名".repeat(64));
    assert_eq!(echoed(&"x".repeat(60_000)), "x".repeat(64));
}

#[test]
fn error_list_is_bounded() {
    let unknown = |count: usize| {
        let mut body = sample();
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
    let rest = FieldProblem::new("*", "absent: 3969 more fields are unknown");
    assert_eq!(cut[31], rest);

    // Unknown fields never displace the errors of known ones.
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

/// Neither the answer to the shop nor `Debug` output repeats a value.
#[test]
fn errors_never_repeat_a_value() {
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

/// `order.rejected` names the order, so its number is read even if the order is wrong.
#[test]
fn order_number_of_invalid_order_is_kept() {
    let number = |body: &Value| match parse(body).unwrap_err() {
        InvalidCommand::Fields { mch_id, out_trade_no, .. } => {
            (mch_id.map(|id| id.to_string()), out_trade_no)
        }
        malformed => panic!("{malformed:?}"),
    };
    let numbered = |mch_id: Value, out_trade_no: Value| {
        let body = with(sample(), "total_fee", json!(0));
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
