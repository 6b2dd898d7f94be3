//! Commands with and without a reply, and messages that are no command.

use harness::amqp::{Amqp, header};
use harness::problem::{kind_of, wrong_fields};
use harness::{Shop, World, eventually};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use serde_json::{Value, json};

use super::{
    CREATE, EVENTS, QUERY, bytes, command_properties, key, new_id, pay_and_expect_paid,
    reply_properties, wrong_order,
};

/// Waits until a queue of the namespace has this many messages, and returns them.
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
async fn create_is_answered_on_reply_queue() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let number = Shop::number();
    let amqp = Amqp::connect(&world.environment).await;
    let mut answers = amqp.private_queue().await;
    let properties = reply_properties(&new_id(), &answers, "cart-17");
    amqp.command(CREATE, &bytes(&shop.order(&number, 9900)), properties).await;

    let answer = answers.next().await;
    let answer_properties = &answer.properties;
    assert_eq!(answer_properties.correlation_id(), &Some(ShortString::from("cart-17")));
    assert_eq!(answer_properties.content_type(), &Some(ShortString::from("application/json")));
    let reply: Value = serde_json::from_slice(&answer.data).unwrap();
    assert_eq!(reply["status"], 200, "{reply}");
    assert_eq!(reply["order"]["state"], "payable");
    assert_eq!(reply["order"]["out_trade_no"], number.as_str());
    assert_eq!(
        reply["order"]["pay"]["package"],
        format!("prepay_id={}", reply["order"]["prepay_id"].as_str().unwrap())
    );
    assert_eq!(reply.get("problem"), None);
    pay_and_expect_paid(&world, &shop, &number).await;
    amqp.close().await;
    world.finish().await;
}

#[tokio::test]
async fn create_is_answered_by_direct_reply_to() {
    let world = World::start().await;
    let shop = world.hmac_shop();
    let number = Shop::number();
    let amqp = Amqp::connect(&world.environment).await;
    let mut answers = amqp.direct_reply_to().await;
    let properties = reply_properties(&new_id(), &answers, &"c".repeat(255));
    amqp.command(CREATE, &bytes(&shop.order(&number, 9900)), properties).await;

    let answer = answers.next().await;
    let correlation_id = answer.properties.correlation_id().as_ref().unwrap();
    assert_eq!(correlation_id.as_str(), "c".repeat(255));
    let reply: Value = serde_json::from_slice(&answer.data).unwrap();
    assert_eq!((&reply["status"], &reply["order"]["state"]), (&json!(200), &json!("payable")));
    assert_eq!(reply["order"]["pay"]["signType"], "HMAC-SHA256");
    pay_and_expect_paid(&world, &shop, &number).await;
    amqp.close().await;
    world.finish().await;
}

#[tokio::test]
async fn create_without_reply_to_is_reported_by_events() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let number = Shop::number();
    let amqp = Amqp::connect(&world.environment).await;
    let order = bytes(&shop.order(&number, 9900));
    amqp.command(CREATE, &order, command_properties(&new_id())).await;
    let payable = world.wait_for_event(&number, "order.payable").await;
    assert!(payable["order"]["pay"]["paySign"].is_string(), "{payable}");
    pay_and_expect_paid(&world, &shop, &number).await;
    amqp.close().await;
    world.finish().await;
}

#[tokio::test]
async fn query_is_answered_with_current_order() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let number = Shop::number();
    let amqp = Amqp::connect(&world.environment).await;
    let mut answers = amqp.direct_reply_to().await;
    world.create_payable(&shop.order(&number, 9900)).await;
    let rejected = Shop::number();
    let order = bytes(&wrong_order(&shop, &rejected));
    amqp.command(CREATE, &order, command_properties(&new_id())).await;
    world.wait_for_event(&rejected, "order.rejected").await;

    let mut ask = async |body: &[u8]| {
        let id = new_id();
        let properties = reply_properties(&id, &answers, &id);
        amqp.command(QUERY, body, properties).await;
        answers.next_json().await
    };
    let reply = ask(&bytes(&key(&shop, &number))).await;
    assert_eq!((&reply["status"], &reply["order"]["state"]), (&json!(200), &json!("payable")));
    assert_eq!(reply["order"].get("pay"), None, "only the answer to a create has pay parameters");
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
    let ledger = world.ledger_rows().await;
    assert_eq!(ledger.len(), 3, "an order and its two transitions: {ledger:#?}");
    amqp.close().await;
    world.finish().await;
}

#[tokio::test]
async fn reply_to_inside_namespace_is_refused() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let amqp = Amqp::connect(&world.environment).await;
    for queue in ["orders", "notifications", "orders.parked", "queries", "new"] {
        let number = Shop::number();
        let properties =
            command_properties(&new_id()).with_reply_to(amqp.qualified_name(queue).into());
        amqp.command(CREATE, &bytes(&shop.order(&number, 9900)), properties).await;
        let event = world.wait_for_event(&number, "order.rejected").await;
        assert_eq!(wrong_fields(&event["problem"]), ["reply_to"]);

        let properties =
            command_properties(&new_id()).with_reply_to(amqp.qualified_name(queue).into());
        amqp.command(QUERY, &bytes(&key(&shop, &number)), properties).await;
    }
    assert!(world.ledger_rows().await.is_empty());
    amqp.close().await;
    world.finish().await;
}

#[tokio::test]
async fn routing_key_alone_decides_command_type() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let amqp = Amqp::connect(&world.environment).await;
    let headers = |name: &str, value: AMQPValue| {
        let mut headers = FieldTable::default();
        headers.insert(name.into(), value);
        command_properties(&new_id()).with_headers(headers)
    };
    let long = AMQPValue::LongString("x".repeat(20_000).into());
    for strange in [
        command_properties(&new_id()).with_type("order.close".into()),
        command_properties(&new_id()).with_app_id("wxpay-orders".into()),
        command_properties(&new_id()).with_content_type("text/xml".into()),
        command_properties(&new_id()).with_timestamp(u64::MAX),
        command_properties(&new_id()).with_delivery_mode(1),
        headers("attempt", AMQPValue::LongLongInt(i64::MAX)),
        headers("attempt", AMQPValue::LongString("first".into())),
        headers("parked_reason", AMQPValue::Boolean(true)),
        headers("x-death", AMQPValue::Void),
        headers("cart", long),
    ] {
        let number = Shop::number();
        let order = bytes(&shop.order(&number, 9900));
        amqp.command(CREATE, &order, strange).await;
        world.expect_events(&number, &EVENTS[..2]).await;
    }
    amqp.close().await;
    world.finish().await;
}

#[tokio::test]
async fn undeliverable_reply_costs_nothing() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let amqp = Amqp::connect(&world.environment).await;
    for reply_to in ["nowhere", "amq.rabbitmq.reply-to.without-consumer", "amq.topic"] {
        let number = Shop::number();
        let properties = command_properties(&new_id()).with_reply_to(reply_to.into());
        amqp.command(CREATE, &bytes(&shop.order(&number, 9900)), properties).await;
        pay_and_expect_paid(&world, &shop, &number).await;
        // A query without a reply queue costs nothing either.
        let properties = command_properties(&new_id());
        amqp.command(QUERY, &bytes(&key(&shop, &number)), properties).await;
    }
    amqp.close().await;
    world.finish().await;
}

#[tokio::test]
async fn undecodable_command_is_parked_and_blocks_no_other() {
    let mut world = World::start().await;
    let shop = world.md5_shop();
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
        amqp.command(CREATE, body, command_properties(&id)).await;
        ids.push(id);
        let number = Shop::number();
        let neighbour = bytes(&shop.order(&number, 9900));
        amqp.command(CREATE, &neighbour, command_properties(&new_id())).await;
        numbers.push(number);
    }
    for number in &numbers {
        world.wait_for_event(number, "order.payable").await;
    }

    let parked = wait_for_messages(&amqp, "orders.parked", garbage.len()).await;
    for (body, id) in garbage.iter().zip(&ids) {
        let is_same = |found: &&lapin::message::Delivery| {
            let message_id = found.properties.message_id().as_ref();
            message_id.is_some_and(|found| found.as_str() == id)
        };
        let found = parked.iter().find(is_same).expect("a parked message");
        assert!(found.data == *body, "the body is unchanged");
        assert_eq!(found.routing_key.as_str(), CREATE);
        let reason = header(found, "parked_reason").unwrap();
        assert!(reason.len() > 10, "{reason}");
        assert!(!reason.contains("138"), "the reason quotes the body: {reason}");
        assert!(header(found, "parked_at").is_some());
    }
    assert_eq!(world.ledger_rows().await.len(), 3 * numbers.len());
    world.expect_parked(u32::try_from(garbage.len()).unwrap());
    amqp.close().await;
    world.finish().await;
}

#[tokio::test]
async fn unknown_command_type_is_parked_or_unrouted() {
    let mut world = World::start().await;
    let shop = world.md5_shop();
    let number = Shop::number();
    let amqp = Amqp::connect(&world.environment).await;
    let order = bytes(&shop.order(&number, 9900));
    // Directly into the queue, without the exchange and its bindings.
    let orders = amqp.qualified_name("orders");
    amqp.publish("", &orders, &order, command_properties(&new_id())).await;
    let parked = wait_for_messages(&amqp, "orders.parked", 1).await;
    assert!(header(&parked[0], "parked_reason").is_some());
    world.expect_parked(1);

    let id = new_id();
    amqp.command("order.explode", &order, command_properties(&id)).await;
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
