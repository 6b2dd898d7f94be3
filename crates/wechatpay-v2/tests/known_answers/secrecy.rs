use std::fmt::Debug;

use wechatpay_v2::{
    Nonce, PrepayId, SignType, orderquery, pay_params, payment_notification, refund_notification,
};

use crate::notifications::payment;
use crate::requests::order;
use crate::samples::{self, appid, credentials, key, order_query};

const PRIVATE: [&str; 10] = [
    samples::KEY,
    "oDemoUser",
    "oDemoSubUser",
    "shop=7",
    "203.0.113.24",
    "极光小店",
    "SKU-1001",
    "CF1105B04DBE21E76A6FBC638821E3B5",
    "E4FB602C8395C4BA6EABBD2E0F6052EC",
    "0000FF1210EA48EEDA63D5F7865BBB0E",
];

fn assert_hides_secrets(value: &impl Debug) {
    let text = format!("{value:?} {value:#?}");
    for private in PRIVATE {
        assert!(!text.contains(private), "{private} is printed by {text}");
    }
}

#[test]
fn debug_output_hides_keys_signatures_and_personal_data() {
    let by = credentials(SignType::Md5);
    assert_hides_secrets(&by);
    assert_hides_secrets(&order());
    assert_hides_secrets(&order().parameters());
    assert_hides_secrets(&samples::fields("N1"));

    let received = payment_notification::Received::parse(&samples::body("N1")).unwrap();
    assert_hides_secrets(&received);
    let verified = received.verify([&key()]).unwrap();
    assert_hides_secrets(&verified);
    assert_hides_secrets(&verified.payment().unwrap());

    let query = order_query();
    assert_hides_secrets(&query);
    assert_hides_secrets(&orderquery::read(&samples::body("Q1"), &by, &query));

    let refund = refund_notification::Received::parse(&samples::body("RN1")).unwrap();
    assert_hides_secrets(&refund);
    assert_hides_secrets(&refund.decrypt(&key()).unwrap());

    let prepay_id = PrepayId::parse("wx21183000118842f0c7d9a1b2c3d4e50000").unwrap();
    let nonce = Nonce::parse("CCPlVNWRlZeN9J3ryP9ks8G0mQ5GOzLH").unwrap();
    let timestamp_s = 1_784_629_802;
    let sign_type = by.sign_type;
    let jsapi = pay_params::jsapi(&appid(), &prepay_id, &nonce, timestamp_s, &key(), sign_type);
    assert_eq!(jsapi.pay_sign, "E4FB602C8395C4BA6EABBD2E0F6052EC");
    assert_hides_secrets(&jsapi);
    let app =
        pay_params::app(&appid(), &by.mch_id, &prepay_id, &nonce, timestamp_s, &key(), sign_type);
    assert_eq!(app.sign, "0000FF1210EA48EEDA63D5F7865BBB0E");
    assert_hides_secrets(&app);
}

#[test]
fn debug_output_identifies_the_order() {
    let out_trade_no = order().out_trade_no;
    for text in [format!("{:?}", order()), format!("{:?}", payment())] {
        assert!(text.contains(out_trade_no.as_str()), "{text}");
        assert!(text.contains("9900"), "{text}");
    }
}
