//! Short texts from outside: headers, times, amounts. One line of the input is one text.

#![no_main]

use axum::http::{HeaderMap, HeaderValue};
use broker::Delivery;
use fuzz as _;
use libfuzzer_sys::fuzz_target;
use service::traceparent;
use wechatpay_v2::{BeijingTime, Fen, SignType};

#[path = "../../../crates/ingress/src/routes/prefer.rs"]
mod prefer;
#[path = "../../../crates/worker/src/traceparent.rs"]
mod trace;

fuzz_target!(|input: &[u8]| {
    let lines: Vec<_> = input.split(|byte| *byte == b'\n').collect();
    headers(&lines);
    for line in lines {
        let Ok(text) = std::str::from_utf8(line) else { continue };
        if let Ok(fen) = Fen::parse("total_fee", text) {
            assert_eq!(fen.to_string().parse(), text.parse::<i64>());
            assert_eq!(Fen::new(fen.get()), Ok(fen));
        }
        if let Ok(time) = BeijingTime::parse("time_end", text) {
            assert_eq!(time.to_string(), text);
            assert_eq!(BeijingTime::from_instant(time.instant()), time);
            let json = serde_json::to_string(&time).expect("a time serializes");
            assert_eq!(serde_json::from_str::<BeijingTime>(&json).ok(), Some(time));
        }
        if let Ok(time) = serde_json::from_slice::<BeijingTime>(line) {
            assert_eq!(BeijingTime::parse("time_end", &time.to_string()), Ok(time));
        }
        if let Ok(sign_type) = SignType::parse(text) {
            assert_eq!(sign_type.as_str(), text);
        }
    }
});

fn headers(lines: &[&[u8]]) {
    let mut headers = HeaderMap::new();
    for value in lines.iter().filter_map(|line| HeaderValue::from_bytes(line).ok()) {
        headers.append("prefer", value.clone());
        if let Ok(Some(wait)) = prefer::wait(&headers) {
            assert!((1..=30).contains(&wait.as_secs()));
        }
        // The worker accepts every value that the ingress forwards.
        let given = value.to_str().ok().filter(|text| traceparent::is_valid(text));
        let carried = given.map_or_else(traceparent::generate, str::to_owned);
        let mut delivery = Delivery::new("order.create", Vec::new());
        delivery.headers.push((traceparent::TRACEPARENT.to_owned(), carried.clone()));
        assert_eq!(trace::of(&delivery), Some(carried));
        if headers.len() >= 8 {
            break;
        }
    }
}
