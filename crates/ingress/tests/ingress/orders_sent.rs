//! Commands that nobody waits for.

use broker::Queue;
use serde_json::json;

use crate::{
    fake_worker::FakeWorker,
    http::post,
    service::Service,
    texts::{MCH_ID, OUT_TRADE_NO, order, order_path},
    world::World,
};

#[tokio::test]
async fn an_order_reaches_the_queue_as_it_came() {
    let world = World::start().await;
    let mut worker = FakeWorker::silent(&world, Queue::Orders).await;
    let service = Service::start(world.config()).await.ready().await;

    let body = format!("\r\n {} \n", serde_json::to_string_pretty(&order()).unwrap());
    let create = post("/v1/orders", body.as_str()).header("content-type", "application/json");
    let answer = create.header("prefer", "respond-async").send(service.private).await;
    assert_eq!(answer.status, 202);
    assert_eq!(answer.header("location"), Some(order_path().as_str()));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("preference-applied"), None);
    let expected = json!({"mch_id": MCH_ID, "out_trade_no": OUT_TRADE_NO, "status": "accepted"});
    assert_eq!(answer.json(), expected);

    let delivery = worker.next().await;
    assert_eq!(delivery.body, body);
    assert_eq!(delivery.routing_key, "order.create");
    assert_eq!(delivery.kind.as_deref(), Some("order.create"));
    assert_eq!(delivery.content_type.as_deref(), Some("application/json"));
    assert_eq!(delivery.message_id.map(|id| id.get_version_num()), Some(7));
    assert_eq!(delivery.reply_to, None);
    assert!(delivery.header("traceparent").is_some());
}

#[tokio::test]
async fn a_trace_is_carried_on_and_a_broken_one_is_not() {
    let world = World::start().await;
    let mut worker = FakeWorker::silent(&world, Queue::Orders).await;
    let service = Service::start(world.config()).await.ready().await;
    let valid = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for (given, carried) in [(valid, true), ("00-4bf9-00f0-01", false)] {
        let create = post("/v1/orders", order().to_string()).header("traceparent", given);
        assert_eq!(create.send(service.private).await.status, 202);
        let delivery = worker.next().await;
        assert_eq!(delivery.header("traceparent") == Some(given), carried);
    }
}

#[tokio::test]
async fn a_close_carries_the_number() {
    let world = World::start().await;
    let mut worker = FakeWorker::silent(&world, Queue::Orders).await;
    let service = Service::start(world.config()).await.ready().await;
    let close = post(format!("{}/close", order_path()), "whatever");
    let answer = close.send(service.private).await;
    assert_eq!(answer.status, 202);
    assert_eq!(answer.header("location"), Some(order_path().as_str()));

    let delivery = worker.next().await;
    assert_eq!(delivery.routing_key, "order.close");
    let key: orders::OrderKey = serde_json::from_slice(&delivery.body).unwrap();
    assert_eq!(key.to_string(), format!("{MCH_ID}/{OUT_TRADE_NO}"));
}
