//! An accepted order is sent to WeChat unchanged, and the notification of its payment is accepted.

#![no_main]

use fuzz::{MCH_ID, SIGN_TYPES, credentials, key, signed, split};
use libfuzzer_sys::fuzz_target;
use orders::{InvalidCommand, Order, OrderKey, OrderRequest};
use serde_json::{Map, Value};
use time::macros::datetime;
use wechatpay_v2::payment_notification::Received;
use wechatpay_v2::{Fields, Limits, Nonce, SignType, parse_xml, unifiedorder, verify, write_xml};

#[path = "../../../crates/ingress/src/routes/notification_shape.rs"]
mod notification_shape;

fuzz_target!(|input: &[u8]| {
    let (body, mut choices) = split(input);
    check_key(body);
    let request = match OrderRequest::parse(body) {
        Ok(request) => request,
        Err(invalid) => return check_problem(invalid),
    };
    let json = serde_json::to_vec(&request).expect("an order serializes");
    assert_eq!(OrderRequest::parse(&json).as_ref(), Ok(&request));
    assert_eq!(serde_json::from_slice::<OrderRequest>(&json).ok().as_ref(), Some(&request));
    check_stored(body, &json);

    let sign_type = SIGN_TYPES[choices.below(2)];
    let expire = request.time_expire.unwrap_or(datetime!(2026-07-21 12:30:00 UTC));
    let (order, _) =
        Order::accept(request.clone(), expire, sign_type, datetime!(2026-07-21 10:30 UTC));
    assert_eq!(order.conflicts_with(&request), Vec::<&str>::new());
    check_sent(&order, &json, sign_type);
    check_notified(&order, sign_type);
});

/// The body of `order.close` and `order.query` is the order's key and nothing else.
fn check_key(body: &[u8]) {
    match OrderKey::parse(body) {
        Ok(key) => {
            let json = serde_json::to_vec(&key).expect("a key serializes");
            assert_eq!(OrderKey::parse(&json).as_ref(), Ok(&key));
            assert!(OrderRequest::parse(body).is_err());
        }
        Err(invalid) => check_problem(invalid),
    }
}

/// The problem of any body is bounded and printable.
fn check_problem(invalid: InvalidCommand) {
    if let InvalidCommand::Fields { errors, out_trade_no, .. } = &invalid {
        assert!((1..=32).contains(&errors.len()));
        let number = out_trade_no.as_deref().unwrap_or_default();
        assert!(number.chars().count() <= 64 && !number.contains(char::is_control));
        for error in errors {
            assert!(error.field.chars().count() <= 64 && !error.field.contains(char::is_control));
            assert_eq!(errors.iter().filter(|other| other.field == error.field).count(), 1);
        }
    }
    let problem = serde_json::to_vec(&invalid.into_problem()).expect("a problem serializes");
    assert!(problem.len() <= 32 * 1024);
}

/// The stored order has every field of the body, and no other field except the default trade type.
fn check_stored(body: &[u8], json: &[u8]) {
    let given: Map<String, Value> = serde_json::from_slice(body).expect("a parsed body");
    let mut stored: Map<String, Value> = serde_json::from_slice(json).expect("a serialized order");
    if !given.contains_key("trade_type") {
        assert_eq!(stored.remove("trade_type"), Some(Value::from("JSAPI")));
    }
    assert!(given.keys().eq(stored.keys()));
    for (name, value) in given.iter().filter(|(name, _)| *name != "time_expire") {
        assert_eq!(Some(value), stored.get(name));
    }
}

/// The request to WeChat has the order's fields unchanged, and those that the worker adds.
fn check_sent(order: &Order, json: &[u8], sign_type: SignType) {
    let mut by = credentials(sign_type);
    by.mch_id = order.request.mch_id.clone();
    let nonce = Nonce::parse("35W7W1y64LNrFuP3rZWf6veX7qIodRjc").expect("a valid nonce");
    let parameters = order.parameters("https://shop.example/notify/1699000001/payment");
    let request = unifiedorder::request(parameters, &by, &nonce);
    let read = parse_xml(write_xml(&request).as_bytes(), Limits::MESSAGE);
    assert_eq!(read.as_ref(), Ok(&request));
    assert_eq!(verify(&request, &key()), Ok(sign_type));

    let mut rest = request;
    let stored: Map<String, Value> = serde_json::from_slice(json).expect("a serialized order");
    for (name, value) in stored.iter().filter(|(name, _)| *name != "time_expire") {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        assert_eq!(rest.remove(name), Some(text), "{name}");
    }
    let added = ["fee_type", "nonce_str", "notify_url", "sign", "sign_type", "time_expire"];
    assert!(rest.iter().map(|(name, _)| name).eq(added));
}

/// The ingress and the worker accept the notification of the order's payment.
fn check_notified(order: &Order, sign_type: SignType) {
    let request = &order.request;
    let total_fee = request.total_fee.to_string();
    let mut fields: Fields = [
        ("appid", request.appid.as_str()),
        ("bank_type", "CMC"),
        ("cash_fee", &total_fee),
        ("mch_id", MCH_ID),
        ("nonce_str", "35W7W1y64LNrFuP3rZWf6veX7qIodRjc"),
        ("openid", "oDemoUser0000000000000000001"),
        ("out_trade_no", request.out_trade_no.as_str()),
        ("result_code", "SUCCESS"),
        ("return_code", "SUCCESS"),
        ("time_end", "20260721183142"),
        ("total_fee", &total_fee),
        ("trade_type", request.trade_type.as_str()),
        ("transaction_id", "4200009876202607211234567890"),
    ]
    .into_iter()
    .collect();
    fields.insert_some("attach", request.attach.as_ref());
    fields.insert_some("device_info", request.device_info.as_ref());
    let fields = signed(fields, sign_type);
    let body = as_wechat_writes(&fields);
    assert_eq!(notification_shape::check(body.as_bytes()), Ok(()), "{body}");
    let received = Received::parse(body.as_bytes()).expect("an authentic message parses");
    let verified = received.verify([&key()]).expect("an authentic message verifies");
    let payment = verified.payment().expect("an authentic message is a payment");
    assert_eq!(payment.total_fee, request.total_fee);
    assert_eq!(payment.attach, request.attach);
}

/// Writes every text as CDATA.
fn as_wechat_writes(fields: &Fields) -> String {
    let elements = fields.iter().map(|(name, text)| {
        let text = text.replace("]]>", "]]]]><![CDATA[>");
        format!("<{name}><![CDATA[{text}]]></{name}>\n")
    });
    format!("<xml>{}</xml>", elements.collect::<String>())
}
