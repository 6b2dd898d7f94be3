//! Shops that speak AMQP themselves: commands with and without an answer, events on queues of their
//! own, and what happens to messages that are none.

use std::time::{SystemTime, UNIX_EPOCH};

use harness::amqp::{Amqp, Inbox, header};
use harness::problem::{kind_of, wrong_fields};
use harness::{Shop, World, eventually};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use serde_json::{Value, json};
use simulator::PayOptions;
use uuid::Uuid;

const CREATE: &str = "order.create";
const QUERY: &str = "order.query";
const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const STORY: [&str; 3] = ["order.created", "order.payable", "order.paid"];

/// The properties of a command as design 7 asks for them.
fn properties(message_id: &str) -> BasicProperties {
    BasicProperties::default()
        .with_content_type("application/json".into())
        .with_message_id(message_id.into())
        .with_delivery_mode(2)
}

fn new_id() -> String {
    Uuid::now_v7().to_string()
}

/// A command that wants its answer in this inbox.
fn question(message_id: &str, answers: &Inbox, correlation_id: &str) -> BasicProperties {
    properties(message_id)
        .with_reply_to(answers.name.as_str().into())
        .with_correlation_id(correlation_id.into())
}

fn bytes(body: &Value) -> Vec<u8> {
    body.to_string().into_bytes()
}

/// An order that breaks a rule.
fn wrong_order(shop: &Shop, number: &str) -> Value {
    let mut order = shop.order(number, 9900);
    order["total_fee"] = json!(0);
    order
}

/// The number, as a question asks for it.
fn key(shop: &Shop, number: &str) -> Value {
    json!({"mch_id": shop.mch_id, "out_trade_no": number})
}

/// Pays, and waits until everything was told.
async fn ends_paid(world: &World, shop: &Shop, number: &str) {
    world.wait_for_event(number, "order.payable").await;
    world.pay(shop, number, &PayOptions::default());
    world.expect_events(number, &STORY).await;
}

/// Waits until so many messages wait in one of our queues, and returns them.
async fn wait_for_messages(
    amqp: &Amqp,
    queue: &str,
    count: usize,
) -> Vec<lapin::message::Delivery> {
    let name = amqp.qualified_name(queue);
    eventually(&format!("{count} messages in {queue}"), async || {
        let found = amqp.peek_all(&name).await;
        (found.len() == count).then_some(found)
    })
    .await
}

#[tokio::test]
async fn an_order_is_answered_on_a_queue_of_the_shops_own() {
    let world = World::start().await;
    let (shop, number) = (world.shop(), Shop::number());
    let amqp = Amqp::connect(&world.environment).await;
    let mut answers = amqp.private_queue().await;
    let asked = question(&new_id(), &answers, "cart-17");
    amqp.command(CREATE, &bytes(&shop.order(&number, 9900)), asked).await;

    let answer = answers.next().await;
    let said = &answer.properties;
    assert_eq!(said.correlation_id(), &Some(ShortString::from("cart-17")));
    assert_eq!(said.content_type(), &Some(ShortString::from("application/json")));
    let reply: Value = serde_json::from_slice(&answer.data).unwrap();
    assert_eq!(reply["status"], 200, "{reply}");
    assert_eq!(reply["order"]["state"], "payable");
    assert_eq!(reply["order"]["out_trade_no"], number.as_str());
    assert_eq!(
        reply["order"]["pay"]["package"],
        format!("prepay_id={}", reply["order"]["prepay_id"].as_str().unwrap())
    );
    assert_eq!(reply.get("problem"), None);
    ends_paid(&world, &shop, &number).await;
    amqp.close().await;
    world.finish().await;
}

#[tokio::test]
async fn an_order_is_answered_by_direct_reply_to() {
    let world = World::start().await;
    let (shop, number) = (world.hmac_shop(), Shop::number());
    let amqp = Amqp::connect(&world.environment).await;
    let mut answers = amqp.direct_reply_to().await;
    let asked = question(&new_id(), &answers, &"c".repeat(255));
    amqp.command(CREATE, &bytes(&shop.order(&number, 9900)), asked).await;

    let answer = answers.next().await;
    let correlation_id = answer.properties.correlation_id().as_ref().unwrap();
    assert_eq!(correlation_id.as_str(), "c".repeat(255));
    let reply: Value = serde_json::from_slice(&answer.data).unwrap();
    assert_eq!((&reply["status"], &reply["order"]["state"]), (&json!(200), &json!("payable")));
    assert_eq!(reply["order"]["pay"]["signType"], "HMAC-SHA256");
    ends_paid(&world, &shop, &number).await;
    amqp.close().await;
    world.finish().await;
}

#[tokio::test]
async fn an_order_without_reply_to_is_heard_of_by_its_events() {
    let world = World::start().await;
    let (shop, number) = (world.shop(), Shop::number());
    let amqp = Amqp::connect(&world.environment).await;
    let order = bytes(&shop.order(&number, 9900));
    amqp.command(CREATE, &order, properties(&new_id())).await;
    let payable = world.wait_for_event(&number, "order.payable").await;
    assert!(payable["order"]["pay"]["paySign"].is_string(), "{payable}");
    ends_paid(&world, &shop, &number).await;
    amqp.close().await;
    world.finish().await;
}

#[tokio::test]
async fn a_question_is_answered_with_the_order_as_it_stands() {
    let world = World::start().await;
    let (shop, number) = (world.shop(), Shop::number());
    let amqp = Amqp::connect(&world.environment).await;
    let mut answers = amqp.direct_reply_to().await;
    world.create_payable(&shop.order(&number, 9900)).await;
    let rejected = Shop::number();
    let order = bytes(&wrong_order(&shop, &rejected));
    amqp.command(CREATE, &order, properties(&new_id())).await;
    world.wait_for_event(&rejected, "order.rejected").await;

    let mut ask = async |body: &[u8]| {
        let id = new_id();
        let asked = question(&id, &answers, &id);
        amqp.command(QUERY, body, asked).await;
        answers.next_json().await
    };
    let reply = ask(&bytes(&key(&shop, &number))).await;
    assert_eq!((&reply["status"], &reply["order"]["state"]), (&json!(200), &json!("payable")));
    assert_eq!(reply["order"].get("pay"), None, "only a create is given it");
    let reply = ask(&bytes(&key(&shop, &Shop::number()))).await;
    assert_eq!(reply["status"], 404);
    assert_eq!(kind_of(&reply["problem"]), "not-found");
    let reply = ask(&bytes(&key(&shop, &rejected))).await;
    assert_eq!(reply["status"], 422);
    assert_eq!(wrong_fields(&reply["problem"]), ["total_fee"]);
    let mut more = key(&shop, &number);
    more["state"] = json!("paid");
    for garbage in [
        &b"not JSON"[..],
        b"",
        b"\xff\xfe",
        b"{}",
        &bytes(&json!({"mch_id": shop.mch_id, "out_trade_no": 7})),
        &bytes(&more),
        &[b'['; 100_000],
    ] {
        let reply = ask(garbage).await;
        let status = reply["status"].as_u64().unwrap();
        assert!((400..500).contains(&status), "{reply}");
        assert!(reply["problem"].is_object(), "{reply}");
    }
    let books = world.ledger_rows().await;
    assert_eq!(books.len(), 3, "an order and its two moves: {books:#?}");
    amqp.close().await;
    world.finish().await;
}

#[tokio::test]
async fn a_command_that_comes_twice_is_rejected_once_and_answered_twice() {
    let world = World::start().await;
    let (shop, number) = (world.shop(), Shop::number());
    let amqp = Amqp::connect(&world.environment).await;
    let mut answers = amqp.private_queue().await;
    let id = new_id();
    let order = bytes(&wrong_order(&shop, &number));
    for _ in 0..2 {
        amqp.command(CREATE, &order, question(&id, &answers, "twice")).await;
    }
    let replies = [answers.next_json().await, answers.next_json().await];
    assert_eq!(replies[0], replies[1]);
    assert_eq!(replies[0]["status"], 422);
    assert_eq!(wrong_fields(&replies[0]["problem"]), ["total_fee"]);
    world.wait_for_event(&number, "order.rejected").await;

    // Another command of the same content is told as one of its own.
    let asked = question(&new_id(), &answers, "another");
    amqp.command(CREATE, &order, asked).await;
    answers.next_json().await;
    let events = eventually("the second rejection", async || {
        let events = world.events.distinct(&number);
        (events.len() > 1).then_some(events)
    })
    .await;
    assert_eq!(events.len(), 2, "{events:#?}");
    for event in &events {
        assert_eq!(event["type"], "order.rejected");
        assert_eq!(event["mch_id"], shop.mch_id.as_str());
        assert_eq!(event["problem"], replies[0]["problem"]);
        assert_eq!(event["version"], 1);
        assert_eq!(event.get("seq"), None, "no move stands behind it");
    }
    assert_ne!(events[0]["id"], events[1]["id"]);
    amqp.close().await;
    world.finish().await;
}

#[tokio::test]
async fn a_good_command_that_comes_twice_is_one_order() {
    let world = World::start().await;
    let (shop, number) = (world.shop(), Shop::number());
    let amqp = Amqp::connect(&world.environment).await;
    let mut answers = amqp.private_queue().await;
    let id = new_id();
    let order = bytes(&shop.order(&number, 9900));
    for _ in 0..3 {
        amqp.command(CREATE, &order, question(&id, &answers, &id)).await;
    }
    for _ in 0..3 {
        let reply = answers.next_json().await;
        assert_eq!(reply["status"], 200, "{reply}");
        assert_eq!(reply["order"]["state"], "payable");
    }
    let calls = world.simulator.calls(&shop.mch_id, &number);
    assert_eq!(calls.unifiedorder, 1);
    ends_paid(&world, &shop, &number).await;
    amqp.close().await;
    world.finish().await;
}

#[tokio::test]
async fn a_command_without_message_id_works_and_twice_is_one_rejection() {
    let world = World::start().await;
    let (shop, good, wrong) = (world.shop(), Shop::number(), Shop::number());
    let amqp = Amqp::connect(&world.environment).await;
    let mut answers = amqp.private_queue().await;
    let nameless = || BasicProperties::default().with_reply_to(answers.name.as_str().into());
    let bare = BasicProperties::default();
    amqp.command(CREATE, &bytes(&shop.order(&good, 9900)), bare).await;
    ends_paid(&world, &shop, &good).await;

    let order = bytes(&wrong_order(&shop, &wrong));
    let asked = [nameless(), nameless()];
    for properties in asked {
        amqp.command(CREATE, &order, properties).await;
        let reply = answers.next_json().await;
        assert_eq!(reply["status"], 422, "{reply}");
    }
    world.wait_for_event(&wrong, "order.rejected").await;
    let rejections = "select count(*) from rejections where out_trade_no = $1";
    let rejections: i64 = sqlx::query_scalar(rejections)
        .bind(&wrong)
        .fetch_one(&world.environment.pool)
        .await
        .unwrap();
    assert_eq!(rejections, 1);
    amqp.close().await;
    world.finish().await;
}

#[tokio::test]
async fn two_shops_may_count_their_messages_alike() {
    let world = World::start().await;
    let amqp = Amqp::connect(&world.environment).await;
    let mut answers = amqp.private_queue().await;
    for shop in [world.shop(), world.hmac_shop()] {
        let number = Shop::number();
        let asked = question("1", &answers, "1");
        amqp.command(CREATE, &bytes(&wrong_order(&shop, &number)), asked).await;
        assert_eq!(answers.next_json().await["status"], 422);
        world.wait_for_event(&number, "order.rejected").await;
        let (status, _) = world.get(&shop, &number).await;
        assert_eq!(status.as_u16(), 422);
    }
    amqp.close().await;
    world.finish().await;
}

#[tokio::test]
async fn an_answer_into_one_of_our_own_queues_is_refused() {
    let world = World::start().await;
    let shop = world.shop();
    let amqp = Amqp::connect(&world.environment).await;
    for queue in ["orders", "notifications", "orders.parked", "queries", "new"] {
        let number = Shop::number();
        let asked = properties(&new_id()).with_reply_to(amqp.qualified_name(queue).into());
        amqp.command(CREATE, &bytes(&shop.order(&number, 9900)), asked).await;
        let event = world.wait_for_event(&number, "order.rejected").await;
        assert_eq!(wrong_fields(&event["problem"]), ["reply_to"]);

        let asked = properties(&new_id()).with_reply_to(amqp.qualified_name(queue).into());
        amqp.command(QUERY, &bytes(&key(&shop, &number)), asked).await;
    }
    assert!(world.ledger_rows().await.is_empty());
    amqp.close().await;
    world.finish().await;
}

#[tokio::test]
async fn the_routing_key_decides_what_a_message_is_whatever_else_it_says() {
    let world = World::start().await;
    let shop = world.shop();
    let amqp = Amqp::connect(&world.environment).await;
    let headers = |name: &str, value: AMQPValue| {
        let mut headers = FieldTable::default();
        headers.insert(name.into(), value);
        properties(&new_id()).with_headers(headers)
    };
    let long = AMQPValue::LongString("x".repeat(20_000).into());
    for strange in [
        properties(&new_id()).with_type("order.close".into()),
        properties(&new_id()).with_app_id("wxpay-orders".into()),
        properties(&new_id()).with_content_type("text/xml".into()),
        properties(&new_id()).with_timestamp(u64::MAX),
        properties(&new_id()).with_delivery_mode(1),
        headers("attempt", AMQPValue::LongLongInt(i64::MAX)),
        headers("attempt", AMQPValue::LongString("first".into())),
        headers("parked_reason", AMQPValue::Boolean(true)),
        headers("x-death", AMQPValue::Void),
        headers("cart", long),
    ] {
        let number = Shop::number();
        let order = bytes(&shop.order(&number, 9900));
        amqp.command(CREATE, &order, strange).await;
        world.expect_events(&number, &STORY[..2]).await;
    }
    amqp.close().await;
    world.finish().await;
}

#[tokio::test]
async fn a_message_id_may_be_any_text() {
    let world = World::start().await;
    let shop = world.shop();
    let amqp = Amqp::connect(&world.environment).await;
    let mut answers = amqp.private_queue().await;
    let ids = ["", "1", "a b", "\0", "订单-1", "\n", "'; --", &"i".repeat(255)];
    for id in ids {
        let (wrong, good) = (Shop::number(), Shop::number());
        for number in [&wrong, &good] {
            let order = match number == &wrong {
                true => wrong_order(&shop, number),
                false => shop.order(number, 9900),
            };
            let asked = question(id, &answers, id);
            amqp.command(CREATE, &bytes(&order), asked).await;
            let answer = answers.next().await;
            let correlation_id = answer.properties.correlation_id().as_ref();
            assert_eq!(correlation_id.unwrap().as_str(), id);
            let reply: Value = serde_json::from_slice(&answer.data).unwrap();
            let expected = if number == &wrong { 422 } else { 200 };
            assert_eq!(reply["status"], expected, "{id:?}: {reply}");
        }
        world.wait_for_event(&wrong, "order.rejected").await;
        world.wait_for_event(&good, "order.payable").await;
    }
    amqp.close().await;
    world.finish().await;
}

#[tokio::test]
async fn an_answer_that_nobody_takes_costs_nothing() {
    let world = World::start().await;
    let shop = world.shop();
    let amqp = Amqp::connect(&world.environment).await;
    for reply_to in ["nowhere", "amq.rabbitmq.reply-to.of-nobody", "amq.topic"] {
        let number = Shop::number();
        let asked = properties(&new_id()).with_reply_to(reply_to.into());
        amqp.command(CREATE, &bytes(&shop.order(&number, 9900)), asked).await;
        ends_paid(&world, &shop, &number).await;
        // Nor does a question that wants none.
        let asked = properties(&new_id());
        amqp.command(QUERY, &bytes(&key(&shop, &number)), asked).await;
    }
    amqp.close().await;
    world.finish().await;
}

#[tokio::test]
async fn garbage_is_parked_with_its_reason_and_holds_nobody_up() {
    let mut world = World::start().await;
    let shop = world.shop();
    let amqp = Amqp::connect(&world.environment).await;
    let mut without_merchant = shop.order(&Shop::number(), 9900);
    without_merchant.as_object_mut().unwrap().remove("mch_id");
    let garbage = [
        b"not JSON but private: 13800000000".to_vec(),
        b"\x00\xff\xfe\x80".to_vec(),
        Vec::new(),
        vec![b'['; 60_000],
        format!("{{\"attach\":\"{}\"}}", "x".repeat(100_000)).into_bytes(),
        bytes(&without_merchant),
        bytes(&json!([shop.order(&Shop::number(), 9900)])),
    ];
    let mut numbers = Vec::new();
    let mut ids = Vec::new();
    for body in &garbage {
        let id = new_id();
        amqp.command(CREATE, body, properties(&id)).await;
        ids.push(id);
        let number = Shop::number();
        let neighbour = bytes(&shop.order(&number, 9900));
        amqp.command(CREATE, &neighbour, properties(&new_id())).await;
        numbers.push(number);
    }
    for number in &numbers {
        world.wait_for_event(number, "order.payable").await;
    }

    let parked = wait_for_messages(&amqp, "orders.parked", garbage.len()).await;
    for (body, id) in garbage.iter().zip(&ids) {
        let is_it = |found: &&lapin::message::Delivery| {
            let message_id = found.properties.message_id().as_ref();
            message_id.is_some_and(|found| found.as_str() == id)
        };
        let found = parked.iter().find(is_it).expect("it is parked");
        assert!(found.data == *body, "the body is as it came");
        assert_eq!(found.routing_key.as_str(), CREATE);
        let reason = header(found, "parked_reason").unwrap();
        assert!(reason.len() > 10, "{reason}");
        assert!(!reason.contains("138"), "quotes the body: {reason}");
        assert!(header(found, "parked_at").is_some());
    }
    assert_eq!(world.ledger_rows().await.len(), 3 * numbers.len());
    world.expect_parked(u32::try_from(garbage.len()).unwrap());
    amqp.close().await;
    world.finish().await;
}

#[tokio::test]
async fn a_command_of_no_kind_of_ours_is_parked_or_kept_as_unrouted() {
    let mut world = World::start().await;
    let (shop, number) = (world.shop(), Shop::number());
    let amqp = Amqp::connect(&world.environment).await;
    let order = bytes(&shop.order(&number, 9900));
    // Straight into the queue, past the exchange that knows its keys.
    let orders = amqp.qualified_name("orders");
    amqp.publish("", &orders, &order, properties(&new_id())).await;
    let parked = wait_for_messages(&amqp, "orders.parked", 1).await;
    assert!(header(&parked[0], "parked_reason").is_some());
    world.expect_parked(1);

    let id = new_id();
    amqp.command("order.explode", &order, properties(&id)).await;
    wait_for_messages(&amqp, "unrouted", 1).await;
    let unrouted = amqp.take_all(&amqp.qualified_name("unrouted")).await;
    assert_eq!(unrouted[0].routing_key.as_str(), "order.explode");
    assert_eq!(unrouted[0].data, order);
    let message_id = unrouted[0].properties.message_id().as_ref().unwrap();
    assert_eq!(message_id.as_str(), id);

    assert!(world.ledger_rows().await.is_empty());
    amqp.close().await;
    world.finish().await;
}

#[tokio::test]
async fn an_event_says_in_its_properties_what_it_is() {
    let world = World::start().await;
    let (shop, number) = (world.shop(), Shop::number());
    let amqp = Amqp::connect(&world.environment).await;
    let mut events = amqp.events("#").await;
    amqp.command(CREATE, &bytes(&wrong_order(&shop, &number)), properties("7")).await;
    world.wait_for_event(&number, "order.rejected").await;
    world.create_payable(&shop.order(&number, 9900)).await;
    ends_paid(&world, &shop, &number).await;

    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    for kind in ["order.rejected", "order.created", "order.payable", "order.paid"] {
        let found = events.next().await;
        let body: Value = serde_json::from_slice(&found.data).unwrap();
        assert_eq!(body["type"], kind, "{body}");
        assert_eq!(found.routing_key, format!("{kind}.{}", shop.mch_id).into());
        let said = &found.properties;
        let text = |it: &Option<ShortString>| it.as_ref().unwrap().to_string();
        assert_eq!(text(said.content_type()), "application/json");
        assert_eq!(text(said.kind()), kind);
        assert_eq!(text(said.message_id()), body["id"].as_str().unwrap());
        assert_eq!(text(said.app_id()), "wxpay-orders");
        assert_eq!(*said.delivery_mode(), Some(2));
        let sent = said.timestamp().unwrap();
        assert!(sent.abs_diff(now.as_secs()) < 300, "sent at {sent}");
        assert_eq!(said.reply_to(), &None);
        assert_eq!(said.expiration(), &None);
    }
    amqp.close().await;
    world.finish().await;
}

#[tokio::test]
async fn a_shops_own_queue_holds_its_merchants_events_and_no_others() {
    let world = World::start().await;
    let (mine, theirs) = (world.shop(), world.hmac_shop());
    let (my_number, their_number) = (Shop::number(), Shop::number());
    let amqp = Amqp::connect(&world.environment).await;
    let queue = format!("shop-{}", Shop::number());
    amqp.durable_queue(&queue, &format!("order.*.{}", mine.mch_id)).await;
    for (shop, number) in [(&theirs, &their_number), (&mine, &my_number)] {
        let id = new_id();
        amqp.command(CREATE, &bytes(&wrong_order(shop, number)), properties(&id)).await;
        world.wait_for_event(number, "order.rejected").await;
        world.create_payable(&shop.order(number, 9900)).await;
        ends_paid(&world, shop, number).await;
    }
    // Nobody has consumed so far: it waits as long as the shop is away.
    let found = eventually("the shop's events", async || {
        let found = amqp.peek_all(&queue).await;
        (found.len() == 4).then_some(found)
    })
    .await;
    for (found, kind) in found.iter().zip(["order.rejected"].iter().chain(&STORY)) {
        let body: Value = serde_json::from_slice(&found.data).unwrap();
        assert_eq!(body["type"], *kind);
        assert_eq!(body["mch_id"], mine.mch_id.as_str());
        assert_eq!(body["out_trade_no"], my_number.as_str());
    }
    amqp.delete(&queue).await;
    amqp.close().await;
    world.finish().await;
}

/// Properties with the trace of whoever asks.
fn traced(message_id: &str, trace: &str) -> BasicProperties {
    let mut headers = FieldTable::default();
    headers.insert("traceparent".into(), AMQPValue::LongString(trace.into()));
    properties(message_id).with_headers(headers)
}

#[tokio::test]
async fn the_trace_of_a_create_arrives_on_the_events_that_it_causes() {
    let world = World::start().await;
    let shop = world.shop();
    let amqp = Amqp::connect(&world.environment).await;
    let mut events = amqp.events("#").await;
    let (by_http, by_amqp) = (Shop::number(), Shop::number());
    let headers =
        [("content-type", "application/json"), ("traceparent", TRACE), ("prefer", "wait=20")];
    let order = shop.order(&by_http, 9900).to_string();
    assert_eq!(world.post(order, &headers).await.status(), 200);
    let order = bytes(&shop.order(&by_amqp, 9900));
    amqp.command(CREATE, &order, traced(&new_id(), TRACE)).await;
    for number in [by_http, by_amqp] {
        for kind in ["order.created", "order.payable"] {
            let found = events.next().await;
            let body: Value = serde_json::from_slice(&found.data).unwrap();
            assert_eq!((&body["out_trade_no"], &body["type"]), (&json!(number), &json!(kind)));
            assert_eq!(header(&found, "traceparent").as_deref(), Some(TRACE));
        }
    }
    amqp.close().await;
    world.finish().await;
}

#[tokio::test]
async fn the_trace_of_a_rejected_create_arrives_on_its_event() {
    let world = World::start().await;
    let (shop, number) = (world.shop(), Shop::number());
    let amqp = Amqp::connect(&world.environment).await;
    let mut events = amqp.events("#").await;
    let order = bytes(&wrong_order(&shop, &number));
    amqp.command(CREATE, &order, traced(&new_id(), TRACE)).await;
    let found = events.next().await;
    let body: Value = serde_json::from_slice(&found.data).unwrap();
    assert_eq!(body["type"], "order.rejected");
    assert_eq!(header(&found, "traceparent").as_deref(), Some(TRACE));
    amqp.close().await;
    world.finish().await;
}

#[tokio::test]
async fn what_is_no_trace_is_not_carried_on() {
    let world = World::start().await;
    let shop = world.shop();
    let amqp = Amqp::connect(&world.environment).await;
    let mut events = amqp.events("order.created.*").await;
    for trace in ["", "who?", "\0", "00-<script>", &"0".repeat(10_000)] {
        let number = Shop::number();
        let order = bytes(&shop.order(&number, 9900));
        amqp.command(CREATE, &order, traced(&new_id(), trace)).await;
        let found = events.next().await;
        let carried = header(&found, "traceparent").unwrap_or_default();
        assert!(carried.is_empty(), "{carried:?}");
        world.wait_for_event(&number, "order.payable").await;
    }
    amqp.close().await;
    world.finish().await;
}
