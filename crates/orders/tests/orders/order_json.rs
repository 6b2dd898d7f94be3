//! An order's JSON: the rule of every field, at its limits.

use orders::testing::{sample_with_sub_merchant, with};
use orders::{FieldProblem, InvalidCommand, OrderRequest};
use serde_json::{Value, json};

mod body;
mod errors;
mod fields;
mod properties;
mod texts;

pub(crate) const FIELDS: [&str; 20] = [
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

/// An order with every field.
fn full_body() -> Value {
    let mut full = sample_with_sub_merchant();
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

fn parse(body: &Value) -> Result<OrderRequest, InvalidCommand> {
    OrderRequest::parse(body.to_string().as_bytes())
}

/// The wrong fields and their rules, as the shop receives them.
fn errors(body: &Value) -> Vec<FieldProblem> {
    let invalid = parse(body).expect_err(&format!("accepted: {body}"));
    let InvalidCommand::Fields { errors, .. } = &invalid else {
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

/// The fields that are free texts, with their limits in bytes.
const TEXTS: [(&str, usize); 7] = [
    ("body", 127),
    ("attach", 127),
    ("product_id", 32),
    ("goods_tag", 32),
    ("device_info", 32),
    ("scene_info", 256),
    ("detail", 6000),
];

/// A text for `field` of exactly so many bytes, if `wide` mostly of three-byte characters.
fn text_of(field: &str, bytes: usize, wide: bool) -> String {
    let (before, after) = match field {
        "scene_info" | "detail" => (r#"{"a":""#, r#""}"#),
        _ => ("", ""),
    };
    let filled = bytes - before.len() - after.len();
    let wide = if wide { filled / 3 } else { 0 };
    let narrow = filled - 3 * wide;
    let text = format!("{before}{}{}{after}", "极".repeat(wide), "x".repeat(narrow));
    assert_eq!(text.len(), bytes);
    text
}
