//! Forged, changed and malformed notifications. They are held, so that nothing is sent.

use serde_json::{Value, json};
use wechatpay_v2::payment_notification::{NotificationError, Received};
use wechatpay_v2::{Limits, Payment, SignType, SignatureError, XmlError, parse_xml};

use crate::support::*;

/// The held body of a notification about an order that stays unpaid.
async fn held(gateway: &Gateway, mut options: Value) -> Vec<u8> {
    options["hold"] = true.into();
    options["notify_only"] = true.into();
    let (status, answer) =
        gateway.control(&format!("/_sim/pay/{MCH_ID}/{ORDER_NO}"), options).await;
    assert_eq!(status, 200, "{answer}");
    match answer["body_hex"].as_str() {
        Some(hex) => (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
            .collect(),
        None => answer["body"].as_str().unwrap().as_bytes().to_vec(),
    }
}

/// Verifies and parses the notification as a merchant does.
fn received(body: &[u8]) -> Result<(SignType, Payment), NotificationError> {
    let verified = Received::parse(body)?.verify([&key()])?;
    Ok((verified.sign_type(), verified.payment()?))
}

#[tokio::test]
async fn notification_is_signed_as_the_option_says() {
    let gateway = gateway().await;
    gateway.create(with(order(NO_ENDPOINT), &[("sign_type", "HMAC-SHA256")])).await;
    for (sign, expected) in [
        ("order", Ok(SignType::HmacSha256)),
        ("MD5", Ok(SignType::Md5)),
        ("HMAC-SHA256", Ok(SignType::HmacSha256)),
        ("lowercase", Ok(SignType::HmacSha256)),
        ("wrong", Err(SignatureError::Wrong.into())),
        ("other_key", Err(SignatureError::Wrong.into())),
        ("missing", Err(SignatureError::Missing.into())),
        ("empty", Err(SignatureError::Missing.into())),
    ] {
        let body = held(&gateway, json!({"sign": sign})).await;
        assert_eq!(received(&body).map(|(sign_type, _)| sign_type), expected, "{sign}");
        let text = String::from_utf8(body).unwrap();
        assert_eq!(text.contains("<sign>"), sign != "missing", "{sign}");
    }
    assert_eq!(gateway.query(ORDER_NO).await.get("trade_state"), Some("NOTPAY"));
    assert!(gateway.notifications(MCH_ID, ORDER_NO).is_empty(), "held, not sent");
}

#[tokio::test]
async fn malformed_notification_fails_verification() {
    let gateway = gateway().await;
    gateway.create(order(NO_ENDPOINT)).await;
    let broken = |error: XmlError| NotificationError::from(error);
    for (malform, expected) in [
        ("doctype", broken(XmlError::Doctype)),
        ("duplicate", broken(XmlError::Repeated)),
        ("truncated", broken(XmlError::Malformed)),
        ("nested", broken(XmlError::Nested)),
        ("huge", broken(XmlError::TooLarge(Limits::MESSAGE.bytes))),
        ("gbk", broken(XmlError::NotUtf8)),
        ("trailing", broken(XmlError::Trailing)),
        ("no_return_code", NotificationError::ReturnCode),
        ("return_fail", NotificationError::ReturnCode),
        ("result_fail", NotificationError::ResultCode),
    ] {
        let body = held(&gateway, json!({"malform": malform})).await;
        assert_eq!(received(&body), Err(expected), "{malform}");
    }
    let huge = held(&gateway, json!({"malform": "huge"})).await;
    let large = Limits { bytes: huge.len(), ..Limits::MESSAGE };
    let fields = parse_xml(&huge, large).unwrap();
    assert!(wechatpay_v2::verify(&fields, &key()).is_ok(), "only its size is wrong");
    assert!(received(&held(&gateway, json!({"malform": null})).await).is_ok());
}

#[tokio::test]
async fn notification_contains_the_forged_fields() {
    let gateway = gateway().await;
    gateway.create(order(NO_ENDPOINT)).await;
    let options = json!({
        "total_fee": 1,
        "transaction_id": "4200009876202607219999999999",
        "mch_id": OTHER_MCH_ID,
        "appid": "wx0000000000000000",
        "out_trade_no": "SOMETHING_ELSE",
        "coupons": [
            {"coupon_id": "30000000001", "coupon_type": "CASH", "coupon_fee": 1},
        ],
        "extra_fields": {"future_field_x": "v=1&v=2 <]]>", "fee_type": "USD"},
        "empty_fields": ["attach", "sub_mch_note"],
    });
    let body = held(&gateway, options).await;
    let (_, payment) = received(&body).unwrap();
    assert_eq!(payment.total_fee.get(), 1);
    assert_eq!(payment.cash_fee.unwrap().get(), 0, "a zero is signed");
    assert_eq!(payment.coupon_fee.unwrap().get(), 1);
    assert_eq!(payment.transaction_id.as_str(), "4200009876202607219999999999");
    assert_eq!(payment.mch_id.as_str(), OTHER_MCH_ID);
    assert_eq!(payment.appid.as_str(), "wx0000000000000000");
    assert_eq!(payment.out_trade_no.as_str(), "SOMETHING_ELSE");
    assert_eq!(payment.fee_type, "USD");
    assert_eq!(payment.attach, None);
    let fields = parse_xml(&body, Limits::MESSAGE).unwrap();
    assert_eq!(fields.get("future_field_x"), Some("v=1&v=2 <]]>"));
    assert!(fields.contains("sub_mch_note"));
    assert_eq!(gateway.order(MCH_ID, ORDER_NO).unwrap().total_fee, 9900);
}

/// The merchant's settings give the address and the algorithm, because there is no order.
#[tokio::test]
async fn notification_about_an_unknown_order_is_sent() {
    let endpoint = Endpoint::start([]).await;
    let mut config = config();
    let base = endpoint.url().trim_end_matches("/notify");
    config.merchants[0].notify_base_url = Some(base.to_owned());
    let gateway = gateway_with(config).await;
    let body = held(&gateway, json!({"total_fee": 5})).await;
    let (sign_type, payment) = received(&body).unwrap();
    assert_eq!((sign_type, payment.total_fee.get()), (SignType::Md5, 5));

    let path = format!("/_sim/pay/{MCH_ID}/{ORDER_NO}");
    assert_eq!(gateway.control(&path, json!({})).await.0, 404);
    let forged = json!({"notify_only": true});
    assert_eq!(gateway.control(&path, forged.clone()).await.0, 200);
    let sent = || gateway.notifications(MCH_ID, ORDER_NO).pop();
    until("it was sent", || sent().is_some_and(|n| !n.attempts.is_empty())).await;
    let sent = sent().unwrap();
    assert_eq!(sent.notify_url, format!("{base}/notify/{MCH_ID}/payment"));
    // The other merchant has no address.
    let path = format!("/_sim/pay/{OTHER_MCH_ID}/{ORDER_NO}");
    assert_eq!(gateway.control(&path, forged).await.0, 422);
}
