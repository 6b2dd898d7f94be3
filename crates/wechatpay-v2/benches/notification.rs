//! What one payment notification costs: parse, verify, read the payment.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use wechatpay_v2::payment_notification::{NotificationError, Received};
use wechatpay_v2::{ApiKey, Fields, Payment, SignType, sign, write_xml};

/// An ordinary notification without coupons.
const FIELDS: [(&str, &str); 16] = [
    ("appid", "wx2421b1c4370ec43b"),
    ("attach", "支付测试"),
    ("bank_type", "CFT"),
    ("cash_fee", "9900"),
    ("fee_type", "CNY"),
    ("is_subscribe", "Y"),
    ("mch_id", "10000100"),
    ("nonce_str", "5d2b6c2a8db53831f7eda20af46e531c"),
    ("openid", "oUpF8uMEb4qRXf22hE3X68TekukE"),
    ("out_trade_no", "1409811653"),
    ("result_code", "SUCCESS"),
    ("return_code", "SUCCESS"),
    ("time_end", "20140903131540"),
    ("total_fee", "9900"),
    ("trade_type", "JSAPI"),
    ("transaction_id", "1004400740201409030005092168"),
];

fn notification(criterion: &mut Criterion) {
    let key = ApiKey::parse("192006250b4c09247ec02edce69f6a2d").expect("a key");
    for sign_type in [SignType::Md5, SignType::HmacSha256] {
        let mut fields: Fields = FIELDS.into_iter().collect();
        let signature = sign(&fields, &key, sign_type);
        fields.insert("sign", signature);
        let body = write_xml(&fields);
        let name = format!("parse and verify, {}", sign_type.as_str());
        criterion.bench_function(&name, |bencher| {
            bencher.iter(|| read(black_box(body.as_bytes()), &key).expect("an authentic payment"));
        });
    }
}

fn read(body: &[u8], key: &ApiKey) -> Result<Payment, NotificationError> {
    Received::parse(body)?.verify([key])?.payment()
}

criterion_group!(benches, notification);
criterion_main!(benches);
