//! An order that is taken is sent as it was meant, and its payment can be told to us.

#![no_main]

use fuzz::{MCH_ID, SIGN_TYPES, credentials, key, signed, split};
use libfuzzer_sys::fuzz_target;
use orders::{InvalidOrder, Order, OrderKey, OrderRequest};
use serde_json::{Map, Value};
use time::macros::datetime;
use wechatpay_v2::payment_notification::Received;
use wechatpay_v2::{Fields, Limits, Nonce, SignType, parse_xml, unifiedorder, verify, write_xml};

#[path = "../../../crates/ingress/src/routes/notification_shape.rs"]
mod notification_shape;

fuzz_target!(|input: &[u8]| {
    let (body, mut choices) = split(input);
    key_alone(body);
    let request = match OrderRequest::parse(body) {
        Ok(request) => request,
        Err(invalid) => return refused(invalid),
    };
    let json = serde_json::to_vec(&request).expect("an order is written as JSON");
    assert_eq!(OrderRequest::parse(&json).as_ref(), Ok(&request));
    assert_eq!(serde_json::from_slice::<OrderRequest>(&json).ok().as_ref(), Some(&request));
    as_given(body, &json);

    let sign_type = SIGN_TYPES[choices.below(2)];
    let expire = request.time_expire.unwrap_or(datetime!(2026-07-21 12:30:00 UTC));
    let (order, _) =
        Order::accept(request.clone(), expire, sign_type, datetime!(2026-07-21 10:30 UTC));
    assert_eq!(order.conflicts_with(&request), Vec::<&str>::new());
    sent(&order, &json, sign_type);
    told(&order, sign_type);
});

/// `order.close` and `order.query` have the key alone.
fn key_alone(body: &[u8]) {
    match OrderKey::parse(body) {
        Ok(key) => {
            let json = serde_json::to_vec(&key).expect("a key is written as JSON");
            assert_eq!(OrderKey::parse(&json).as_ref(), Ok(&key));
            assert!(OrderRequest::parse(body).is_err());
        }
        Err(invalid) => refused(invalid),
    }
}

/// What is answered, stored and told is bounded and printable, whatever was sent.
fn refused(invalid: InvalidOrder) {
    if let InvalidOrder::Fields { errors, out_trade_no, .. } = &invalid {
        assert!((1..=32).contains(&errors.len()));
        let number = out_trade_no.as_deref().unwrap_or_default();
        assert!(number.chars().count() <= 64 && !number.contains(char::is_control));
        for error in errors {
            assert!(error.field.chars().count() <= 64 && !error.field.contains(char::is_control));
            assert_eq!(errors.iter().filter(|other| other.field == error.field).count(), 1);
        }
    }
    let problem = serde_json::to_vec(&invalid.into_problem()).expect("a problem is JSON");
    assert!(problem.len() <= 32 * 1024);
}

/// Every field of the body is in the order, and nothing else but the default.
fn as_given(body: &[u8], json: &[u8]) {
    let given: Map<String, Value> = serde_json::from_slice(body).expect("it was parsed before");
    let mut kept: Map<String, Value> = serde_json::from_slice(json).expect("we wrote it");
    if !given.contains_key("trade_type") {
        assert_eq!(kept.remove("trade_type"), Some(Value::from("JSAPI")));
    }
    assert!(given.keys().eq(kept.keys()));
    for (name, value) in given.iter().filter(|(name, _)| *name != "time_expire") {
        assert_eq!(Some(value), kept.get(name));
    }
}

/// The request on the wire holds the order's fields and ours, each once and unchanged.
fn sent(order: &Order, json: &[u8], sign_type: SignType) {
    let mut by = credentials(sign_type);
    by.mch_id = order.request.mch_id.clone();
    let nonce = Nonce::parse("35W7W1y64LNrFuP3rZWf6veX7qIodRjc").expect("a nonce");
    let parameters = order.parameters("https://shop.example/notify/1699000001/payment");
    let request = unifiedorder::request(parameters, &by, &nonce);
    let read = parse_xml(write_xml(&request).as_bytes(), Limits::MESSAGE);
    assert_eq!(read.as_ref(), Ok(&request));
    assert_eq!(verify(&request, &key()), Ok(sign_type));

    let mut rest = request;
    let kept: Map<String, Value> = serde_json::from_slice(json).expect("we wrote it");
    for (name, value) in kept.iter().filter(|(name, _)| *name != "time_expire") {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        assert_eq!(rest.remove(name), Some(text), "{name}");
    }
    let ours = ["fee_type", "nonce_str", "notify_url", "sign", "sign_type", "time_expire"];
    assert!(rest.iter().map(|(name, _)| name).eq(ours));
}

/// The notification of its payment, with what WeChat gives back, is let in and read.
fn told(order: &Order, sign_type: SignType) {
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
    let received = Received::parse(body.as_bytes()).expect("a true message is read");
    let verified = received.verify([&key()]).expect("a true message verifies");
    let payment = verified.payment().expect("a true message is a payment");
    assert_eq!(payment.total_fee, request.total_fee);
    assert_eq!(payment.attach, request.attach);
}

/// CDATA around every text.
fn as_wechat_writes(fields: &Fields) -> String {
    let elements = fields.iter().map(|(name, text)| {
        let text = text.replace("]]>", "]]]]><![CDATA[>");
        format!("<{name}><![CDATA[{text}]]></{name}>\n")
    });
    format!("<xml>{}</xml>", elements.collect::<String>())
}
