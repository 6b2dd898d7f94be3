use std::fmt::Debug;

use wechatpay_v2::unifiedorder::UnifiedOrder;
use wechatpay_v2::{Nonce, PrepayId, SignType, pay_params, payment_notification};
use wechatpay_v2::{orderquery, refund_notification};

use crate::notifications::payment;
use crate::requests::{appid, order, out_trade_no};
use crate::samples::{self, credentials, key};

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

fn assert_discreet(value: &impl Debug) {
    let text = format!("{value:?} {value:#?}");
    for private in PRIVATE {
        assert!(!text.contains(private), "{private} is printed by {text}");
    }
}

#[test]
fn no_debug_output_holds_a_key_a_signature_or_what_is_personal() {
    let by = credentials(SignType::Md5);
    assert_discreet(&by);
    assert_discreet(&order());
    assert_discreet(&order().parameters());
    assert_discreet(&samples::fields("N1"));

    let received = payment_notification::Received::parse(&samples::body("N1")).unwrap();
    assert_discreet(&received);
    let verified = received.verify([&key()]).unwrap();
    assert_discreet(&verified);
    assert_discreet(&verified.payment().unwrap());

    let query = orderquery::OrderQuery {
        appid: appid(),
        out_trade_no: out_trade_no(),
        sub_mch_id: None,
        sub_appid: None,
    };
    assert_discreet(&query);
    assert_discreet(&orderquery::read(&samples::body("Q1"), &by, &query));

    let refund = refund_notification::Received::parse(&samples::body("RN1")).unwrap();
    assert_discreet(&refund);
    assert_discreet(&refund.decrypt(&key()).unwrap());

    let prepay_id = PrepayId::parse("wx21183000118842f0c7d9a1b2c3d4e50000").unwrap();
    let nonce = Nonce::parse("CCPlVNWRlZeN9J3ryP9ks8G0mQ5GOzLH").unwrap();
    let (at, by) = (1_784_629_802, by.sign_type);
    let jsapi = pay_params::jsapi(&appid(), &prepay_id, &nonce, at, &key(), by);
    assert_eq!(jsapi.pay_sign, "E4FB602C8395C4BA6EABBD2E0F6052EC");
    assert_discreet(&jsapi);
    let partner = credentials(by).mch_id;
    let app = pay_params::app(&appid(), &partner, &prepay_id, &nonce, at, &key(), by);
    assert_eq!(app.sign, "0000FF1210EA48EEDA63D5F7865BBB0E");
    assert_discreet(&app);
}

#[test]
fn debug_output_still_says_which_order_it_is() {
    let UnifiedOrder { out_trade_no, .. } = order();
    for text in [format!("{:?}", order()), format!("{:?}", payment())] {
        assert!(text.contains(out_trade_no.as_str()), "{text}");
        assert!(text.contains("9900"), "{text}");
    }
}
