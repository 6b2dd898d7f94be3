use wechatpay_v2::{ApiKey, Fields, Limits, parse_xml, sign, verify};

use crate::support::*;

/// Messages that were signed by other code: closeorder, and a unifiedorder whose expiry has passed.
#[tokio::test]
async fn wechats_signed_samples_are_accepted() {
    let gateway = gateway().await;
    let closeorder = "<xml>
  <appid><![CDATA[wx5f0c2e7a91d34b68]]></appid>
  <mch_id><![CDATA[1699000001]]></mch_id>
  <out_trade_no><![CDATA[SO20260721A0001]]></out_trade_no>
  <nonce_str><![CDATA[nTJ7BslG2MYB51f3OttDPiT8r1KqqS7x]]></nonce_str>
  <sign_type><![CDATA[MD5]]></sign_type>
  <sign><![CDATA[A72EE6F7841F60F637A04A0A6E8D3182]]></sign>
</xml>";
    let (status, body) = gateway.post("/pay/closeorder", closeorder).await;
    let answer = parse_xml(body.as_bytes(), Limits::MESSAGE).unwrap();
    assert_eq!((status, answer.get("err_code")), (200, Some("ORDERNOTEXIST")));
    assert!(verify(&answer, &key()).is_ok());

    let unifiedorder = r#"<xml>
  <appid><![CDATA[wx5f0c2e7a91d34b68]]></appid>
  <mch_id><![CDATA[1699000001]]></mch_id>
  <device_info><![CDATA[WEB]]></device_info>
  <nonce_str><![CDATA[FaHSlL4rkfkzAaMm6M1vHasGdJqwQx5B]]></nonce_str>
  <sign_type><![CDATA[HMAC-SHA256]]></sign_type>
  <body><![CDATA[极光小店-鲜花&绿植]]></body>
  <detail><![CDATA[{"cost_price":9900,"receipt_id":"R-77","goods_detail":[{"goods_id":"SKU-1001","goods_name":"向日葵 <大束>","quantity":1,"price":9900}]}]]></detail>
  <attach><![CDATA[shop=7;src=mini]]></attach>
  <out_trade_no><![CDATA[SO20260721A0001]]></out_trade_no>
  <fee_type><![CDATA[CNY]]></fee_type>
  <total_fee>9900</total_fee>
  <spbill_create_ip><![CDATA[203.0.113.24]]></spbill_create_ip>
  <time_start><![CDATA[20260721183000]]></time_start>
  <time_expire><![CDATA[20260721190000]]></time_expire>
  <notify_url><![CDATA[https://pay.example.test/wx/v2/notify]]></notify_url>
  <trade_type><![CDATA[JSAPI]]></trade_type>
  <openid><![CDATA[oDemoUser0000000000000000001]]></openid>
  <sign><![CDATA[022FC3B5AF8D8DF778AE21950C699707F0FB65CF5D06A65135AB9DA8D71203DE]]></sign>
</xml>"#;
    // The signature is correct whenever this runs, and wrong with another last digit.
    let (_, body) = gateway.post("/pay/unifiedorder", unifiedorder).await;
    assert!(!body.contains("签名错误"), "{body}");
    let (_, body) =
        gateway.post("/pay/unifiedorder", unifiedorder.replace("203DE]", "203DF]")).await;
    assert!(body.contains("签名错误"), "{body}");
}

#[tokio::test]
async fn unauthenticated_call_gets_an_unsigned_refusal() {
    let gateway = gateway().await;
    let order = || order(NO_ENDPOINT);
    let resigned = |fields: Fields, key: &str, as_if: &str| {
        let key = ApiKey::parse(key).unwrap();
        let signature = sign(&fields, &key, wechatpay_v2::SignType::parse(as_if).unwrap());
        with(fields, &[("sign", &signature)])
    };
    let lower = signed(order()).get("sign").unwrap().to_ascii_lowercase();
    let cases = [
        ("another key", resigned(order(), OTHER_KEY, "MD5"), "签名错误"),
        ("no sign", order(), "签名错误"),
        ("a changed field", with(signed(order()), &[("total_fee", "1")]), "签名错误"),
        ("an added field", with(signed(order()), &[("goods_tag", "x")]), "签名错误"),
        ("HMAC without sign_type", resigned(order(), KEY, "HMAC-SHA256"), "签名错误"),
        (
            "MD5 under the name of HMAC",
            resigned(with(order(), &[("sign_type", "HMAC-SHA256")]), KEY, "MD5"),
            "签名错误",
        ),
        (
            "no such algorithm",
            with(signed(order()), &[("sign_type", "SHA1")]),
            "sign_type参数格式错误",
        ),
        (
            "another merchant's order under this merchant's key",
            signed(with(order(), &[("mch_id", OTHER_MCH_ID)])),
            "签名错误",
        ),
        (
            "an unknown merchant",
            signed(with(order(), &[("mch_id", "1699000009")])),
            "商户号mch_id或sub_mch_id不存在",
        ),
        ("no merchant", signed(with(order(), &[("mch_id", "")])), "缺少参数mch_id"),
        (
            "an app of another merchant",
            signed(with(order(), &[("appid", "wx0000000000000000")])),
            "appid和mch_id不匹配",
        ),
        ("no nonce", signed(with(order(), &[("nonce_str", "")])), "缺少参数nonce_str"),
        (
            "a long nonce",
            signed(with(order(), &[("nonce_str", &"n".repeat(33))])),
            "nonce_str参数格式错误",
        ),
    ];
    let lower = ("lower case", with(order(), &[("sign", &lower)]), "签名错误");
    for path in ["/pay/unifiedorder", "/pay/orderquery", "/pay/closeorder"] {
        for (case, fields, text) in cases.iter().chain([&lower]) {
            let (status, body) = gateway.post(path, xml(fields)).await;
            let answer = parse_xml(body.as_bytes(), Limits::MESSAGE).unwrap();
            assert_eq!(status, 200, "{case}");
            assert_eq!(answer.get("return_code"), Some("FAIL"), "{case}");
            assert_eq!(answer.get("return_msg"), Some(*text), "{case}");
            assert_eq!(answer.len(), 2, "{case}: unsigned and alone");
        }
    }
    assert!(gateway.orders().is_empty());
}

#[tokio::test]
async fn malformed_body_gets_an_unsigned_refusal() {
    let gateway = gateway().await;
    let good = xml(&signed(order(NO_ENDPOINT)));
    let gbk = [b"<xml><body>\xb2\xe2\xca\xd4</body>".as_slice(), b"</xml>"].concat();
    let padded = good.replace("</xml>", &format!("<a>{}</a></xml>", "x".repeat(64 * 1024)));
    let cases: [(&str, Vec<u8>, &str); 9] = [
        ("nothing", Vec::new(), "post数据为空"),
        ("a form", b"appid=1&mch_id=2".to_vec(), "XML格式错误"),
        ("JSON", b"{\"appid\":1}".to_vec(), "XML格式错误"),
        ("cut off", good.as_bytes()[..200].to_vec(), "XML格式错误"),
        ("an ampersand", b"<xml><body>a&b</body></xml>".to_vec(), "XML格式错误"),
        ("nested", b"<xml><a><b>1</b></a></xml>".to_vec(), "XML格式错误"),
        ("a doctype", format!("<!DOCTYPE xml>{good}").into_bytes(), "XML格式错误"),
        ("GBK", gbk, "编码格式错误"),
        ("too large", padded.into_bytes(), "XML格式错误"),
    ];
    for (case, body, text) in cases {
        let (status, body) = gateway.post("/pay/unifiedorder", body).await;
        let answer = parse_xml(body.as_bytes(), Limits::MESSAGE).unwrap();
        assert_eq!((status, answer.get("return_msg")), (200, Some(text)), "{case}");
        assert!(!answer.contains("sign"), "{case}");
    }
    let got = http().get(format!("{}/pay/orderquery", gateway.url()));
    let body = got.send().await.unwrap().text().await.unwrap();
    assert!(body.contains("请使用post方法"), "{body}");
}
