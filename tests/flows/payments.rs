//! The normal case of each trade type: create, payment, notification, event.

use harness::{Shop, World};
use serde_json::Value;
use simulator::PayOptions;
use wechatpay_v2::{ApiKey, Fields, SignType, sign};

const EVENTS: [&str; 3] = ["order.created", "order.payable", "order.paid"];

/// Creates and pays an order and checks its view and events. Returns the payable view.
async fn create_and_pay(world: &World, shop: &Shop, order: &Value) -> Value {
    let number = order["out_trade_no"].as_str().unwrap();
    let view = world.create_payable(order).await;
    let paid = world.pay(shop, number, &PayOptions::default());
    world.expect_events(number, &EVENTS).await;

    let (status, now) = world.get(shop, number).await;
    assert_eq!(status, 200);
    assert_eq!(now["state"], "paid");
    assert_eq!(now["seq"], 3);
    assert_eq!(now["transaction_id"], paid.transaction_id.as_str());
    assert_eq!(now["cash_fee"], order["total_fee"]);
    assert_eq!(now["exceptions"], serde_json::json!([]));

    let mut events = world.events.distinct(number);
    events.sort_by_key(|event| event["seq"].as_i64());
    let seqs: Vec<_> = events.iter().map(|event| event["seq"].as_i64().unwrap()).collect();
    assert_eq!(seqs, [1, 2, 3]);
    assert_eq!(events[1]["previous_state"], "created");
    assert_eq!(events[1]["order"]["prepay_id"], view["prepay_id"]);
    assert_eq!(events[2]["order"]["transaction_id"], paid.transaction_id.as_str());
    view
}

/// Recomputes the signature of the pay parameters, as WeChat does.
fn signature(names: &[&str], pay: &Value, key: &str, sign_type: SignType) -> String {
    let fields: Fields =
        names.iter().map(|name| (*name, pay[*name].as_str().unwrap().to_owned())).collect();
    sign(&fields, &ApiKey::parse(key).unwrap(), sign_type)
}

const JSAPI_SIGNED: [&str; 5] = ["appId", "timeStamp", "nonceStr", "package", "signType"];

#[tokio::test]
async fn jsapi_order_signed_with_md5_is_paid() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let number = Shop::number();
    let view = create_and_pay(&world, &shop, &shop.order(&number, 9900)).await;
    let pay = &view["pay"];
    assert_eq!(pay["signType"], "MD5");
    assert_eq!(pay["package"], format!("prepay_id={}", view["prepay_id"].as_str().unwrap()));
    let expected = signature(&JSAPI_SIGNED, pay, &world.merchants[0].key, SignType::Md5);
    assert_eq!(pay["paySign"], expected);
    world.finish().await;
}

#[tokio::test]
async fn jsapi_order_signed_with_hmac_sha256_is_paid() {
    let world = World::start().await;
    let shop = world.hmac_shop();
    let number = Shop::number();
    let view = create_and_pay(&world, &shop, &shop.order(&number, 1)).await;
    let pay = &view["pay"];
    assert_eq!(pay["signType"], "HMAC-SHA256");
    let expected = signature(&JSAPI_SIGNED, pay, &world.merchants[1].key, SignType::HmacSha256);
    assert_eq!(pay["paySign"], expected);
    world.finish().await;
}

#[tokio::test]
async fn app_order_is_paid() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let number = Shop::number();
    let view = create_and_pay(&world, &shop, &shop.order_of_type(&number, "APP")).await;
    let pay = &view["pay"];
    assert_eq!(pay["partnerid"], shop.mch_id);
    assert_eq!(pay["prepayid"], view["prepay_id"]);
    let names = ["appid", "partnerid", "prepayid", "package", "noncestr", "timestamp"];
    assert_eq!(pay["sign"], signature(&names, pay, &world.merchants[0].key, SignType::Md5));
    world.finish().await;
}

#[tokio::test]
async fn native_order_is_paid() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let number = Shop::number();
    let view = create_and_pay(&world, &shop, &shop.order_of_type(&number, "NATIVE")).await;
    assert!(view["code_url"].as_str().unwrap().starts_with("weixin://"), "{view}");
    assert_eq!(view.get("pay"), None);
    world.finish().await;
}

#[tokio::test]
async fn mweb_order_is_paid() {
    let world = World::start().await;
    let shop = world.hmac_shop();
    let number = Shop::number();
    let view = create_and_pay(&world, &shop, &shop.order_of_type(&number, "MWEB")).await;
    assert!(view["mweb_url"].as_str().unwrap().contains('&'), "{view}");
    world.finish().await;
}

#[tokio::test]
async fn create_without_wait_answers_202() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let number = Shop::number();
    let (status, _) = world.create(&shop.order(&number, 100), None).await;
    assert_eq!(status, 202);
    world.wait_for_state(&shop, &number, "payable").await;
    world.finish().await;
}
