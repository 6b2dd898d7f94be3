//! The same order again: which differences are a conflict, and what a repetition sends to WeChat.

use orders::testing::{ACCEPTED_AT, EXPIRE, order_in, request, sample, with};
use orders::{Order, StateName};
use serde_json::{Value, json};
use wechatpay_v2::SignType;

const FULL: [(&str, &str, &str); 17] = [
    ("mch_id", "1699000001", "1699000009"),
    ("appid", "wx5f0c2e7a91d34b68", "wx5f0c2e7a91d34b69"),
    ("out_trade_no", "SO20260721A0001", "SO20260721A0002"),
    ("trade_type", "JSAPI", "APP"),
    ("body", "极光小店-鲜花&绿植", "极光小店-绿植"),
    ("openid", "oDemoUser", "oDemoUser2"),
    ("product_id", "P-1001", "P-1002"),
    ("scene_info", r#"{"a":1}"#, r#"{"a":2}"#),
    ("attach", "shop=7", "shop=8"),
    ("detail", r#"{"a":1}"#, r#"{ "a":1}"#),
    ("goods_tag", "WXG", "WXH"),
    ("device_info", "WEB", "POS"),
    ("sub_mch_id", "1699000002", "1699000003"),
    ("sub_appid", "wx0a", "wx0b"),
    ("sub_openid", "oSub", "oSub2"),
    // These have one value each; the other is none.
    ("limit_pay", "no_credit", ""),
    ("receipt", "Y", ""),
];

fn full() -> Value {
    let mut full = sample();
    for (field, value, _) in FULL {
        full[field] = json!(value);
    }
    full
}

fn existing(body: &Value) -> Order {
    Order::accept(request(body), EXPIRE, SignType::Md5, ACCEPTED_AT).0
}

fn conflicts(existing: &Order, repeat: Value) -> Vec<&'static str> {
    existing.conflicts_with(&request(&repeat))
}

#[test]
fn differing_field_is_named() {
    let order = existing(&full());
    assert_eq!(conflicts(&order, full()), [""; 0]);
    for (field, _, other) in FULL {
        let other = if other.is_empty() { Value::Null } else { json!(other) };
        assert_eq!(conflicts(&order, with(full(), field, other)), [field]);
    }
    for fee in [1, 9899, 9901] {
        let repeat = with(full(), "total_fee", json!(fee));
        assert_eq!(conflicts(&order, repeat), ["total_fee"]);
    }
}

/// A field that is given the first time only, or the second time only, differs.
#[test]
fn given_and_absent_field_differ() {
    let without = |field| with(full(), field, Value::Null);
    for field in ["attach", "detail", "goods_tag", "device_info", "receipt"] {
        assert_eq!(conflicts(&existing(&full()), without(field)), [field]);
        assert_eq!(conflicts(&existing(&without(field)), full()), [field]);
    }
}

#[test]
fn default_equals_its_explicit_value() {
    let silent = with(full(), "trade_type", Value::Null);
    assert_eq!(conflicts(&existing(&full()), silent.clone()), [""; 0]);
    assert_eq!(conflicts(&existing(&silent), full()), [""; 0]);
}

/// A payer's address changes with the network.
#[test]
fn spbill_create_ip_may_differ() {
    let moved = with(full(), "spbill_create_ip", json!("2001:db8::7"));
    assert_eq!(conflicts(&existing(&full()), moved), [""; 0]);
}

#[test]
fn time_expire_counts_only_if_the_repeat_gives_it() {
    let at = |time: &str| with(full(), "time_expire", json!(time));
    // EXPIRE, in another zone and with a fraction that WeChat never saw.
    let same = at("2026-07-21T20:30:00.9+08:00");
    let other = at("2026-07-21T12:30:01Z");
    for first in [full(), same.clone()] {
        let order = existing(&first);
        assert_eq!(conflicts(&order, full()), [""; 0]);
        assert_eq!(conflicts(&order, same.clone()), [""; 0]);
        assert_eq!(conflicts(&order, other.clone()), ["time_expire"]);
    }
}

#[test]
fn state_of_the_order_is_no_conflict() {
    for state in StateName::ALL {
        let order = order_in(state, &sample());
        assert_eq!(order.conflicts_with(&request(&sample())), [""; 0]);
    }
}

/// WeChat refuses a repetition that differs, so what is sent depends on the request alone.
#[test]
fn parameters_do_not_depend_on_the_state() {
    let notify_url = "https://pay.example.com/notify/1699000001/payment";
    let first = existing(&full()).parameters(notify_url);
    let sent: Vec<(&str, &str)> = first.iter().collect();
    let mut expected: Vec<(&str, &str)> = FULL
        .iter()
        .filter(|(field, ..)| *field != "mch_id")
        .map(|(field, value, _)| (*field, *value))
        .collect();
    expected.extend([
        ("fee_type", "CNY"),
        ("notify_url", notify_url),
        ("spbill_create_ip", "203.0.113.24"),
        ("time_expire", "20260721203000"),
        ("total_fee", "9900"),
    ]);
    expected.sort_unstable();
    assert_eq!(sent, expected);
    for state in StateName::ALL {
        let later = order_in(state, &full());
        assert_eq!(later.parameters(notify_url), first);
    }
}
