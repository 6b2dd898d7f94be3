use simulator::PayOptions;
use time::OffsetDateTime;
use wechatpay_v2::{BeijingTime, Fields};

use crate::support::*;

const H5: &str =
    r#"{"h5_info":{"type":"Wap","wap_url":"https://shop.example.test","wap_name":"x"}}"#;

#[tokio::test]
async fn unifiedorder_answers_each_trade_type() {
    let gateway = gateway().await;
    let device = with(order(NO_ENDPOINT), &[("device_info", "WEB"), ("sign_type", "MD5")]);
    let jsapi = gateway.create(device).await;
    for (name, text) in [
        ("return_code", "SUCCESS"),
        ("return_msg", "OK"),
        ("result_code", "SUCCESS"),
        ("appid", APPID),
        ("mch_id", MCH_ID),
        ("device_info", "WEB"),
        ("trade_type", "JSAPI"),
    ] {
        assert_eq!(jsapi.get(name), Some(text), "{name}");
    }
    assert!(jsapi.get("nonce_str").is_some());
    let prepay_id = jsapi.get("prepay_id").unwrap();
    assert!(prepay_id.starts_with("wx") && prepay_id.len() == 36, "{prepay_id}");
    assert!(!jsapi.contains("code_url") && !jsapi.contains("mweb_url"));

    let native = [
        ("out_trade_no", "native_1"),
        ("trade_type", "NATIVE"),
        ("openid", ""),
        ("product_id", "P-1001"),
        ("sign_type", "HMAC-SHA256"),
    ];
    let native = gateway.create(with(order(NO_ENDPOINT), &native)).await;
    let code_url = native.get("code_url").unwrap();
    assert!(code_url.starts_with("weixin://wxpay/bizpayurl?pr="), "{code_url}");
    assert_eq!(native.get("sign").unwrap().len(), 64);

    let mweb =
        [("out_trade_no", "mweb|1*@"), ("trade_type", "MWEB"), ("openid", ""), ("scene_info", H5)];
    let mweb = gateway.create(with(order(NO_ENDPOINT), &mweb)).await;
    let page = format!("?prepay_id={}&package=", mweb.get("prepay_id").unwrap());
    assert!(mweb.get("mweb_url").unwrap().contains(&page));

    let app = [("out_trade_no", "app-1-"), ("trade_type", "APP"), ("openid", "")];
    let app = gateway.create(with(order(NO_ENDPOINT), &app)).await;
    assert_eq!(app.get("trade_type"), Some("APP"));

    let provider = [
        ("out_trade_no", "provider"),
        ("openid", ""),
        ("sub_openid", "oDemoSubUser00000000000000002"),
        ("sub_appid", "wx77ab01cd23ef4567"),
        ("sub_mch_id", "1699000102"),
    ];
    let provider = gateway.create(with(order(NO_ENDPOINT), &provider)).await;
    assert_eq!(provider.get("result_code"), Some("SUCCESS"));
    assert_eq!(provider.get("sub_appid"), Some("wx77ab01cd23ef4567"));
    assert_eq!(provider.get("sub_mch_id"), Some("1699000102"));
}

#[tokio::test]
async fn field_that_breaks_its_rule_is_refused() {
    let gateway = gateway().await;
    let long = |n: usize| "x".repeat(n);
    let in_minutes = |minutes| {
        let at = OffsetDateTime::now_utc() + time::Duration::minutes(minutes);
        BeijingTime::from_instant(at).to_string()
    };
    let too_soon = "time_expire时间过短，刷卡至少1分钟，其他5分钟";
    let utc = OffsetDateTime::now_utc() - time::Duration::hours(8) + time::Duration::minutes(30);
    let as_utc = BeijingTime::from_instant(utc).to_string();
    let wrong = [
        ("body", "", "缺少参数body"),
        ("body", &long(128), "body参数格式错误"),
        ("body", &"鲜".repeat(43), "body参数格式错误"),
        ("attach", &long(128), "attach参数格式错误"),
        ("attach", "a\nb", "attach参数格式错误"),
        ("detail", &format!("{{\"a\":\"{}\"}}", long(6000)), "detail参数格式错误"),
        ("detail", "no json", "detail参数格式错误"),
        ("out_trade_no", "", "缺少参数out_trade_no"),
        ("out_trade_no", "short", "out_trade_no参数格式错误"),
        ("out_trade_no", &long(33), "out_trade_no参数格式错误"),
        ("out_trade_no", "with space", "out_trade_no参数格式错误"),
        ("total_fee", "", "缺少参数total_fee"),
        ("total_fee", "0", "total_fee参数格式错误"),
        ("total_fee", "99.00", "total_fee参数格式错误"),
        ("total_fee", "-1", "total_fee参数格式错误"),
        ("total_fee", " 1", "total_fee参数格式错误"),
        ("fee_type", "USD", "fee_type参数格式错误"),
        ("spbill_create_ip", "", "缺少参数spbill_create_ip"),
        ("spbill_create_ip", "203.0.113.24:80", "spbill_create_ip参数格式错误"),
        ("notify_url", "", "缺少参数notify_url"),
        ("notify_url", "/notify", "notify_url参数格式错误"),
        ("notify_url", "ftp://h/notify", "notify_url参数格式错误"),
        ("notify_url", "https://h/notify?a=1", "notify_url参数格式错误"),
        ("notify_url", &format!("https://h/{}", long(256)), "notify_url参数格式错误"),
        ("trade_type", "", "缺少参数trade_type"),
        ("trade_type", "MICROPAY", "trade_type参数格式错误"),
        ("openid", "", "JSAPI支付必须传openid"),
        ("openid", &long(129), "openid参数格式错误"),
        ("sub_openid", "oSub", "缺少参数sub_appid"),
        ("trade_type", "NATIVE", "缺少参数product_id"),
        ("trade_type", "MWEB", "缺少参数scene_info"),
        ("scene_info", "Wap", "scene_info参数格式错误"),
        ("limit_pay", "credit", "limit_pay参数格式错误"),
        ("profit_sharing", "X", "profit_sharing参数格式错误"),
        ("device_info", &long(33), "device_info参数格式错误"),
        ("time_start", "2026", "time_start参数格式错误"),
        ("time_expire", "2026-07-21 19:00", "time_expire参数格式错误"),
        ("time_expire", &in_minutes(4), too_soon),
        ("time_expire", &in_minutes(-4), too_soon),
        ("time_expire", &as_utc, too_soon),
    ];
    for (name, text, return_msg) in wrong {
        let answer = gateway.create(with(order(NO_ENDPOINT), &[(name, text)])).await;
        assert_eq!(answer.get("return_code"), Some("FAIL"), "{name}={text}");
        assert_eq!(answer.get("return_msg"), Some(return_msg), "{name}={text}");
    }
    assert!(gateway.orders().is_empty());

    let right: [(&str, &str); 6] = [
        ("body", &"鲜".repeat(42)),
        ("total_fee", "1"),
        ("spbill_create_ip", "2001:db8::1"),
        ("time_expire", &in_minutes(6)),
        ("limit_pay", "no_credit"),
        ("something_new", "a field that WeChat does not know is signed and ignored"),
    ];
    for (n, change) in right.into_iter().enumerate() {
        let number = format!("right_{n}");
        let changes = [("out_trade_no", number.as_str()), change];
        let answer = gateway.create(with(order(NO_ENDPOINT), &changes)).await;
        assert_eq!(answer.get("result_code"), Some("SUCCESS"), "{change:?}");
    }
}

#[tokio::test]
async fn repeated_unifiedorder_must_equal_the_first() {
    let gateway = gateway().await;
    let first = order(NO_ENDPOINT);
    let again = |changes: &[(&str, &str)]| {
        let nonce = wechatpay_v2::Nonce::generate();
        let fresh: Fields = with(first.clone(), &[("nonce_str", nonce.as_str())]);
        gateway.create(with(fresh, changes))
    };
    let one = again(&[]).await;
    let two = again(&[]).await;
    assert_ne!(one.get("prepay_id").unwrap(), two.get("prepay_id").unwrap());
    // Defaults and empty fields count as absent.
    let mut same = with(first.clone(), &[("sign_type", "MD5")]);
    same.insert("goods_tag", "");
    assert_eq!(gateway.create(same).await.get("result_code"), Some("SUCCESS"));

    let later = BeijingTime::from_instant(OffsetDateTime::now_utc() + time::Duration::hours(1));
    for change in [
        ("total_fee", "9901"),
        ("body", "something else"),
        ("openid", "oDemoUser0000000000000000009"),
        ("trade_type", "APP"),
        ("time_expire", &later.to_string()),
        ("time_expire", ""),
        ("attach", ""),
        ("spbill_create_ip", "203.0.113.25"),
        ("notify_url", "http://127.0.0.1:9/other"),
        ("goods_tag", "new"),
        ("sign_type", "HMAC-SHA256"),
    ] {
        let answer = again(&[change]).await;
        assert_eq!(answer.get("err_code"), Some("INVALID_REQUEST"), "{change:?}");
        assert_eq!(answer.get("err_code_des"), Some("201 商户订单号重复"), "{change:?}");
    }
    let view = gateway.order(MCH_ID, ORDER_NO).unwrap();
    assert_eq!((view.total_fee, view.unifiedorder_count), (9900, 3));
    assert_eq!(view.prepay_ids.len(), 3);

    let options = PayOptions { state_only: true, ..PayOptions::default() };
    gateway.pay(MCH_ID, ORDER_NO, &options).unwrap();
    assert_eq!(again(&[]).await.get("err_code"), Some("ORDERPAID"));
    assert_eq!(again(&[("body", "x")]).await.get("err_code"), Some("ORDERPAID"));

    let other = with(first.clone(), &[("out_trade_no", "another_1")]);
    gateway.create(other.clone()).await;
    gateway.close("another_1").await;
    assert_eq!(gateway.create(other).await.get("err_code"), Some("ORDERCLOSED"));
}

#[tokio::test]
async fn oldest_order_is_deleted_beyond_the_maximum() {
    let config = simulator::Config { orders_max: 2, ..config() };
    let gateway = gateway_with(config).await;
    for number in ["number_1", "number_2", "number_3"] {
        gateway.create(with(order(NO_ENDPOINT), &[("out_trade_no", number)])).await;
    }
    let kept: Vec<_> = gateway.orders().into_iter().map(|o| o.out_trade_no).collect();
    assert_eq!(kept, ["number_2", "number_3"]);
    assert_eq!(gateway.query("number_1").await.get("err_code"), Some("ORDERNOTEXIST"));
}
