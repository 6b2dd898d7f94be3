//! The header `traceparent` of a command is copied to its events.

use harness::amqp::{Amqp, header};
use harness::{Shop, World};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Value, json};

use super::{CREATE, bytes, command_properties, new_id, wrong_order};

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Properties with a trace.
fn traced(message_id: &str, trace: &str) -> BasicProperties {
    let mut headers = FieldTable::default();
    headers.insert("traceparent".into(), AMQPValue::LongString(trace.into()));
    command_properties(message_id).with_headers(headers)
}

#[tokio::test]
async fn traceparent_of_create_is_on_its_events() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let amqp = Amqp::connect(&world.environment).await;
    let mut events = amqp.events("#").await;
    let by_http = Shop::number();
    let by_amqp = Shop::number();
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
async fn traceparent_of_rejected_create_is_on_its_event() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let number = Shop::number();
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
async fn invalid_traceparent_is_dropped() {
    let world = World::start().await;
    let shop = world.md5_shop();
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
