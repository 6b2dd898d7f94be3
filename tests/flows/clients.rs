//! AMQP users that may act for their merchants only (`WXPAY_CLIENTS_FILE` in the worker).
//!
//! The test broker has one user. The clients file of each test makes it the ingress, a client with
//! one merchant, or an unknown user.

use std::time::{SystemTime, UNIX_EPOCH};

use harness::amqp::{Amqp, Inbox};
use harness::environment::amqp_text;
use harness::{Options, Shop, World};
use lapin::BasicProperties;
use serde_json::{Value, json};
use uuid::Uuid;
use worker::Clients;

const CREATE: &str = "order.create";
const CLOSE: &str = "order.close";
const QUERY: &str = "order.query";

/// The user name of the test broker.
fn user() -> String {
    let url = reqwest::Url::parse(&amqp_text()).unwrap();
    match url.username() {
        "" => "guest".to_owned(),
        name => name.to_owned(),
    }
}

async fn world(clients: &str, ingress_user: Option<String>) -> World {
    let clients = Clients::parse(clients, ingress_user).unwrap();
    World::start_with(Options { clients: Some(clients), ..Options::default() }).await
}

/// A clients file in which the test broker's user is a client with one merchant.
fn one_merchant(mch_id: &str) -> String {
    let user = user();
    format!("[[client]]\nname = \"shop\"\nmch_ids = [\"{mch_id}\"]\namqp_user = \"{user}\"\n")
}

/// Sends a command and returns its reply.
async fn ask(
    shop: &Amqp,
    answers: &mut Inbox,
    routing_key: &str,
    body: &Value,
    user_id: Option<&str>,
) -> Value {
    let mut properties = BasicProperties::default()
        .with_message_id(Uuid::now_v7().to_string().into())
        .with_reply_to(answers.name.as_str().into());
    if let Some(user_id) = user_id {
        properties = properties.with_user_id(user_id.into());
    }
    shop.command(routing_key, body.to_string().as_bytes(), properties).await;
    answers.next_json().await
}

#[tokio::test]
async fn ingress_user_is_trusted() {
    let world = world("", Some(user())).await;
    let shop = world.md5_shop();
    let number = Shop::number();
    world.create_payable(&shop.order(&number, 9900)).await;
    assert_eq!(world.get(&shop, &number).await.0, 200);
    world.finish().await;
}

#[tokio::test]
async fn client_acts_for_its_own_merchants_only() {
    let world = world(&one_merchant("1900000109"), None).await;
    let amqp = Amqp::connect(&world.environment).await;
    let mut answers = amqp.private_queue().await;
    let user = user();

    let shop = world.md5_shop();
    let number = Shop::number();
    let order = shop.order(&number, 9900);
    let answer = ask(&amqp, &mut answers, CREATE, &order, Some(&user)).await;
    assert_eq!(answer["status"], 200, "{answer}");
    let key = json!({"mch_id": shop.mch_id, "out_trade_no": number});
    let answer = ask(&amqp, &mut answers, QUERY, &key, Some(&user)).await;
    assert_eq!(answer["order"]["state"], "payable", "{answer}");

    let other = world.hmac_shop();
    let foreign = Shop::number();
    let order = other.order(&foreign, 9900);
    let key = json!({"mch_id": other.mch_id, "out_trade_no": foreign});
    for (routing_key, body) in [(CREATE, &order), (CLOSE, &key), (QUERY, &key)] {
        let answer = ask(&amqp, &mut answers, routing_key, body, Some(&user)).await;
        assert_eq!(answer["status"], 403, "{routing_key}: {answer}");
    }
    assert_eq!(world.order_state(&other, &foreign).await, None);
    world.wait_for_event(&foreign, "order.rejected").await;
    amqp.close().await;
    world.finish().await;
}

#[tokio::test]
async fn command_without_user_id_is_refused() {
    let world = world(&one_merchant("1900000109"), None).await;
    let amqp = Amqp::connect(&world.environment).await;
    let mut answers = amqp.private_queue().await;
    let shop = world.md5_shop();
    let number = Shop::number();
    let order = shop.order(&number, 9900);
    let answer = ask(&amqp, &mut answers, CREATE, &order, None).await;
    assert_eq!(answer["status"], 403, "{answer}");
    assert_eq!(world.order_state(&shop, &number).await, None);
    amqp.close().await;
    world.finish().await;
}

/// The worker republishes a close that arrives before its create. The copy keeps the shop's user.
#[tokio::test]
async fn delayed_command_keeps_its_user() {
    let world = world(&one_merchant("1900000109"), None).await;
    let amqp = Amqp::connect(&world.environment).await;
    let mut answers = amqp.private_queue().await;
    let shop = world.md5_shop();
    let number = Shop::number();
    let user = user();

    let key = json!({"mch_id": shop.mch_id, "out_trade_no": number});
    let sent = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let close = BasicProperties::default()
        .with_message_id(Uuid::now_v7().to_string().into())
        .with_timestamp(sent)
        .with_user_id(user.as_str().into());
    amqp.command(CLOSE, key.to_string().as_bytes(), close).await;
    let order = shop.order(&number, 9900);
    ask(&amqp, &mut answers, CREATE, &order, Some(&user)).await;

    world.wait_for_event(&number, "order.closing").await;
    amqp.close().await;
    world.finish().await;
}
