//! The HTTP client against a gateway on the loopback that sends exact bytes, also malformed ones.

#![cfg(feature = "client")]
#![allow(clippy::unwrap_used, reason = "a helper that panics fails the test")]

mod answers;
mod gateway;
mod hosts;
mod requests;
#[path = "../samples/mod.rs"]
mod samples;

use gateway::{Gateway, Reply, answer};
use wechatpay_v2::client::Client;
use wechatpay_v2::unifiedorder::{Prepay, TradeType, UnifiedOrder};
use wechatpay_v2::{CallOutcome, Fen, Fields, SignType, Unknown};

const BROKEN: &str = "the connection broke before the answer was complete";
const NO_ANSWER: &str = "no answer in time";
const NO_CONNECTION: &str = "no connection to the gateway";

fn parameters() -> Fields {
    let order = UnifiedOrder {
        appid: samples::appid(),
        out_trade_no: samples::out_trade_no(),
        trade_type: TradeType::Jsapi,
        body: "a+b & <c>\r\n测试 ]]>".to_owned(),
        total_fee: Fen::new(9900).unwrap(),
        spbill_create_ip: "203.0.113.24".to_owned(),
        notify_url: "https://pay.example.test/notify/1699000001/payment".to_owned(),
        time_start: None,
        time_expire: None,
        openid: None,
        product_id: None,
        scene_info: None,
        attach: Some(String::new()),
        detail: None,
        goods_tag: None,
        limit_pay: None,
        device_info: None,
        receipt: None,
        sub_mch_id: None,
        sub_appid: None,
        sub_openid: None,
    };
    order.parameters()
}

async fn create(client: &Client) -> CallOutcome<Prepay> {
    client.unifiedorder(&samples::credentials(SignType::Md5), &parameters()).await
}

/// Sends one call to a gateway that gives this reply.
async fn create_against(reply: Reply) -> CallOutcome<Prepay> {
    let gateway = Gateway::start(reply).await;
    let outcome = create(&Client::new(&gateway.url, None).unwrap()).await;
    assert_eq!(gateway.received().len(), 1, "one call is one request");
    outcome
}

fn transport_failure(text: &str) -> CallOutcome<Prepay> {
    CallOutcome::Unknown(Unknown::Transport(text.to_owned()))
}

/// The HTTP answer with the prepay order of U3.
fn prepay_answer() -> Vec<u8> {
    answer("200 OK", &samples::body("U3"))
}
