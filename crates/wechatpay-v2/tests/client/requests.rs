use wechatpay_v2::client::Client;
use wechatpay_v2::orderquery::TradeState;
use wechatpay_v2::{CallOutcome, SignType, verify};

use crate::gateway::{Gateway, Reply, answer};
use crate::samples::{self, close_order, credentials, key, order_query};
use crate::{create, parameters, prepay_answer};

#[tokio::test]
async fn each_call_sends_one_signed_request() {
    let by = credentials(SignType::Md5);

    let gateway = Gateway::start(Reply::Close(prepay_answer())).await;
    let client = Client::new(&gateway.url, None).unwrap();
    let CallOutcome::Success(prepay) = client.unifiedorder(&by, &parameters()).await else {
        panic!("no prepay");
    };
    let prepay_id = prepay.prepay_id.as_str();
    assert_eq!(prepay_id, "wx21183000118842f0c7d9a1b2c3d4e50000");
    let [request] = &gateway.received()[..] else {
        panic!("one request");
    };
    assert!(request.head.starts_with("POST /pay/unifiedorder HTTP/1.1"));
    let mut sent = request.fields();
    assert_eq!(verify(&sent, &key()), Ok(SignType::Md5));
    for added in ["mch_id", "nonce_str", "sign", "sign_type"] {
        assert!(sent.remove(added).is_some(), "{added}");
    }
    assert_eq!(sent, parameters());

    let gateway = Gateway::start(Reply::Close(answer("200 OK", &samples::body("Q3")))).await;
    let client = Client::new(&gateway.url, None).unwrap();
    let CallOutcome::Success(status) = client.orderquery(&by, &order_query()).await else {
        panic!("no order status");
    };
    assert_eq!(status.trade_state, TradeState::NotPay);
    let [request] = &gateway.received()[..] else {
        panic!("one request");
    };
    assert!(request.head.starts_with("POST /pay/orderquery HTTP/1.1"));
    assert_eq!(verify(&request.fields(), &key()), Ok(SignType::Md5));

    let gateway = Gateway::start(Reply::Close(answer("200 OK", &samples::body("C2")))).await;
    let client = Client::new(&gateway.url, None).unwrap();
    assert_eq!(client.closeorder(&by, &close_order()).await, CallOutcome::Success(()));
    let [request] = &gateway.received()[..] else {
        panic!("one request");
    };
    assert!(request.head.starts_with("POST /pay/closeorder HTTP/1.1"));
    assert_eq!(verify(&request.fields(), &key()), Ok(SignType::Md5));
    let head = request.head.to_ascii_lowercase();
    assert!(head.contains("content-type: text/xml; charset=utf-8"));
}

#[tokio::test]
async fn repeated_calls_differ_only_in_nonce_and_sign() {
    let gateway = Gateway::start(Reply::Keep(prepay_answer())).await;
    let client = Client::new(&gateway.url, None).unwrap();
    for _ in 0..3 {
        assert!(matches!(create(&client).await, CallOutcome::Success(_)));
    }
    let received = gateway.received();
    assert_eq!(received.len(), 3);
    let mut nonces: Vec<_> = received
        .iter()
        .map(|request| request.fields().get("nonce_str").unwrap().to_owned())
        .collect();
    nonces.sort();
    nonces.dedup();
    assert_eq!(nonces.len(), 3, "each request has a nonce of its own");
    let without_nonce: Vec<_> = received
        .iter()
        .map(|request| {
            let fields = request.fields();
            let text = String::from_utf8(request.body.clone()).unwrap();
            ["nonce_str", "sign"]
                .iter()
                .fold(text, |text, name| text.replace(fields.get(name).unwrap(), "…"))
        })
        .collect();
    assert_eq!(without_nonce[0], without_nonce[1]);
    assert_eq!(without_nonce[0], without_nonce[2]);
}

#[tokio::test]
async fn hmac_calls_are_signed_with_hmac() {
    let reply = Reply::Close(answer("200 OK", &samples::body("U4")));
    let gateway = Gateway::start(reply).await;
    let client = Client::new(&gateway.url, None).unwrap();
    let by = credentials(SignType::HmacSha256);
    let outcome = client.unifiedorder(&by, &parameters()).await;
    assert!(matches!(outcome, CallOutcome::Success(_)), "{outcome:?}");
    let [request] = &gateway.received()[..] else {
        panic!("one request");
    };
    assert_eq!(verify(&request.fields(), &key()), Ok(SignType::HmacSha256));
}
