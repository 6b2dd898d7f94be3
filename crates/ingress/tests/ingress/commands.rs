//! Commands without `Prefer: wait`.

use broker::Queue;
use serde_json::json;

use crate::fake_worker::FakeWorker;
use crate::http::post;
use crate::samples::{MCH_ID, OUT_TRADE_NO, order, order_path};
use crate::test_broker::TestBroker;
use crate::test_server::TestServer;

#[tokio::test]
async fn order_reaches_the_queue_byte_for_byte() {
    let broker = TestBroker::start().await;
    let mut worker = FakeWorker::silent(&broker, Queue::Orders).await;
    let server = TestServer::start(broker.config()).await.ready().await;

    let body = format!("\r\n {} \n", serde_json::to_string_pretty(&order()).unwrap());
    let create = post("/v1/orders", body.as_str()).header("content-type", "application/json");
    let answer = create.header("prefer", "respond-async").send(server.private).await;
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
async fn valid_traceparent_is_passed_on_and_broken_one_replaced() {
    let broker = TestBroker::start().await;
    let mut worker = FakeWorker::silent(&broker, Queue::Orders).await;
    let server = TestServer::start(broker.config()).await.ready().await;
    let valid = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for (given, carried) in [(valid, true), ("00-4bf9-00f0-01", false)] {
        let create = post("/v1/orders", order().to_string()).header("traceparent", given);
        assert_eq!(create.send(server.private).await.status, 202);
        let delivery = worker.next().await;
        assert_eq!(delivery.header("traceparent") == Some(given), carried);
    }
}

#[tokio::test]
async fn close_carries_the_order_number() {
    let broker = TestBroker::start().await;
    let mut worker = FakeWorker::silent(&broker, Queue::Orders).await;
    let server = TestServer::start(broker.config()).await.ready().await;
    let close = post(format!("{}/close", order_path()), "whatever");
    let answer = close.send(server.private).await;
    assert_eq!(answer.status, 202);
    assert_eq!(answer.header("location"), Some(order_path().as_str()));

    let delivery = worker.next().await;
    assert_eq!(delivery.routing_key, "order.close");
    let key: orders::OrderKey = serde_json::from_slice(&delivery.body).unwrap();
    assert_eq!(key.to_string(), format!("{MCH_ID}/{OUT_TRADE_NO}"));
}
