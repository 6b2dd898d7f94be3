use wechatpay_v2::unifiedorder::{TradeType, UnifiedOrder};
use wechatpay_v2::{
    ApiKey, AppId, BeijingTime, Fen, Fields, Limits, MchId, Nonce, OpenId, PrepayId, SignType,
    closeorder, orderquery, parse_xml, pay_params, unifiedorder, write_xml,
};

use crate::samples::{self, appid, close_order, order_query, out_trade_no};

/// The order of U1 and U2.
pub(crate) fn order() -> UnifiedOrder {
    let time = |text| BeijingTime::parse("time", text).unwrap();
    let detail = r#"{"cost_price":9900,"receipt_id":"R-77","goods_detail":[{"goods_id":"SKU-1001","goods_name":"向日葵 <大束>","quantity":1,"price":9900}]}"#;
    UnifiedOrder {
        appid: appid(),
        out_trade_no: out_trade_no(),
        trade_type: TradeType::Jsapi,
        body: "极光小店-鲜花&绿植".to_owned(),
        total_fee: Fen::new(9900).unwrap(),
        spbill_create_ip: "203.0.113.24".to_owned(),
        notify_url: "https://pay.example.test/wx/v2/notify".to_owned(),
        time_start: Some(time("20260721183000")),
        time_expire: Some(time("20260721190000")),
        openid: Some(OpenId::parse("oDemoUser0000000000000000001").unwrap()),
        product_id: None,
        scene_info: None,
        attach: Some("shop=7;src=mini".to_owned()),
        detail: Some(detail.to_owned()),
        goods_tag: None,
        limit_pay: None,
        device_info: Some("WEB".to_owned()),
        receipt: None,
        sub_mch_id: None,
        sub_appid: None,
        sub_openid: None,
    }
}

fn nonce_of(request: &Fields) -> Nonce {
    Nonce::parse(request.get("nonce_str").unwrap()).unwrap()
}

fn pairs(fields: &Fields) -> Vec<(&str, &str)> {
    fields.iter().collect()
}

#[test]
fn unifiedorder_request_equals_its_samples() {
    for (id, sign_type) in [("U1", SignType::Md5), ("U2", SignType::HmacSha256)] {
        let expected = samples::fields(id);
        let by = samples::credentials(sign_type);
        let request = unifiedorder::request(order().parameters(), &by, &nonce_of(&expected));
        assert_eq!(pairs(&request), pairs(&expected), "{id}");
        let read = parse_xml(write_xml(&request).as_bytes(), Limits::MESSAGE).unwrap();
        assert_eq!(pairs(&read), pairs(&expected), "{id}");
    }
}

#[test]
fn orderquery_and_closeorder_requests_equal_samples() {
    let by = samples::credentials(SignType::Md5);
    let expected = samples::fields("Q12");
    let request = orderquery::request(&order_query(), &by, &nonce_of(&expected));
    assert_eq!(pairs(&request), pairs(&expected));

    let expected = samples::fields("C1");
    let request = closeorder::request(&close_order(), &by, &nonce_of(&expected));
    assert_eq!(pairs(&request), pairs(&expected));
}

#[test]
fn every_optional_parameter_is_sent_under_its_name() {
    let text = |name: &str| Some(name.to_owned());
    let order = UnifiedOrder {
        product_id: text("product_id"),
        scene_info: text("scene_info"),
        attach: text("attach"),
        detail: text("detail"),
        goods_tag: text("goods_tag"),
        limit_pay: text("limit_pay"),
        device_info: text("device_info"),
        receipt: text("receipt"),
        sub_mch_id: Some(MchId::parse("1699000102").unwrap()),
        sub_appid: Some(AppId::parse("wx77ab01cd23ef4567").unwrap()),
        sub_openid: Some(OpenId::parse("oDemoSubUser00000000000000002").unwrap()),
        ..order()
    };
    let parameters = order.parameters();
    for name in [
        "product_id",
        "scene_info",
        "attach",
        "detail",
        "goods_tag",
        "limit_pay",
        "device_info",
        "receipt",
    ] {
        assert_eq!(parameters.get(name), Some(name));
    }
    assert_eq!(parameters.get("sub_mch_id"), Some("1699000102"));
    assert_eq!(parameters.get("sub_appid"), Some("wx77ab01cd23ef4567"));
    // An openid is printed as an ellipsis, but sent in full.
    assert_eq!(parameters.get("openid"), Some("oDemoUser0000000000000000001"));
    assert_eq!(parameters.get("sub_openid"), Some("oDemoSubUser00000000000000002"));
}

#[test]
fn pay_params_are_signed_as_the_vectors() {
    let vectors = samples::vectors();
    let result = |name: &str| {
        let vector = vectors.iter().find(|vector| vector.name == name).unwrap();
        (vector.key.clone(), vector.sign_type, vector.sign.clone())
    };
    let official = (
        AppId::parse("wxd678efh567hg6787").unwrap(),
        PrepayId::parse("wx2017033010242291fcfe0db70013231072").unwrap(),
        Nonce::parse("5K8264ILTKCH16CQ2502SI8ZNMTM67VS").unwrap(),
        1_490_840_662,
    );
    let demo = (
        appid(),
        PrepayId::parse("wx21183000118842f0c7d9a1b2c3d4e50000").unwrap(),
        Nonce::parse("CCPlVNWRlZeN9J3ryP9ks8G0mQ5GOzLH").unwrap(),
        1_784_629_802,
    );
    for (name, (appid, prepay_id, nonce, timestamp_s)) in [
        ("official-paysign-md5", &official),
        ("official-paysign-hmac", &official),
        ("frontend-jsapi-md5", &demo),
        ("frontend-jsapi-hmac", &demo),
    ] {
        let (key, sign_type, expected) = result(name);
        let pay = pay_params::jsapi(appid, prepay_id, nonce, *timestamp_s, &key, sign_type);
        assert_eq!(pay.pay_sign, expected, "{name}");
    }

    let (appid, prepay_id, nonce, timestamp_s) = demo;
    let (key, sign_type, expected) = result("frontend-app-md5");
    let partner = MchId::parse("1699000001").unwrap();
    let pay = pay_params::app(&appid, &partner, &prepay_id, &nonce, timestamp_s, &key, sign_type);
    assert_eq!(pay.sign, expected);
}

#[test]
fn pay_params_have_the_names_of_the_front_end() {
    let key = ApiKey::parse(samples::KEY).unwrap();
    let prepay_id = PrepayId::parse("wx21183000118842f0c7d9a1b2c3d4e50000").unwrap();
    let nonce = Nonce::parse("CCPlVNWRlZeN9J3ryP9ks8G0mQ5GOzLH").unwrap();
    let sign_type = SignType::HmacSha256;
    let jsapi = pay_params::jsapi(&appid(), &prepay_id, &nonce, 1_784_629_802, &key, sign_type);
    assert_eq!(
        serde_json::to_value(&jsapi).unwrap(),
        serde_json::json!({
            "appId": "wx5f0c2e7a91d34b68",
            "timeStamp": "1784629802",
            "nonceStr": "CCPlVNWRlZeN9J3ryP9ks8G0mQ5GOzLH",
            "package": "prepay_id=wx21183000118842f0c7d9a1b2c3d4e50000",
            "signType": "HMAC-SHA256",
            "paySign": "AD3B251377FD57F27AFEF551413221284255A249B8DD5964FA81B05D3EFB5A63",
        })
    );
    let app = pay_params::app(
        &appid(),
        &MchId::parse("1699000001").unwrap(),
        &prepay_id,
        &nonce,
        1_784_629_802,
        &key,
        SignType::Md5,
    );
    assert_eq!(
        serde_json::to_value(&app).unwrap(),
        serde_json::json!({
            "appid": "wx5f0c2e7a91d34b68",
            "partnerid": "1699000001",
            "prepayid": "wx21183000118842f0c7d9a1b2c3d4e50000",
            "package": "Sign=WXPay",
            "noncestr": "CCPlVNWRlZeN9J3ryP9ks8G0mQ5GOzLH",
            "timestamp": "1784629802",
            "sign": "0000FF1210EA48EEDA63D5F7865BBB0E",
        })
    );
}
