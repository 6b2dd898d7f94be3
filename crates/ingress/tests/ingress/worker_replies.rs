//! Commands with `Prefer: wait`, and queries.

use std::time::Duration;

use broker::{Delivery, Queue};
use ingress::{Config, Limits};
use orders::Problem;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::fake_worker::FakeWorker;
use crate::http::{Connection, Request, get, post};
use crate::samples::{order, order_path};
use crate::test_broker::TestBroker;
use crate::test_server::TestServer;

fn create() -> Request {
    post("/v1/orders", order().to_string())
}

/// A reply with this status and the order of the create.
fn with_status(status: u16) -> impl Fn(&Delivery) -> Option<Value> {
    move |delivery| {
        let order: Value = serde_json::from_slice(&delivery.body).expect("JSON");
        Some(json!({"status": status, "order": order}))
    }
}

#[tokio::test]
async fn workers_reply_is_passed_on() {
    for status in [200, 202] {
        let broker = TestBroker::start().await;
        let mut worker = FakeWorker::start(&broker, Queue::Orders, with_status(status)).await;
        let server = TestServer::start(broker.config()).await.ready().await;
        let answer = create().header("prefer", "wait=30").send(server.private).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("preference-applied"), Some("wait=30"));
        let location = (status == 202).then(order_path);
        assert_eq!(answer.header("location"), location.as_deref());
        assert_eq!(answer.json(), order());
        let delivery = worker.next().await;
        assert_eq!(
            (delivery.routing_key.as_str(), &delivery.body[..]),
            ("order.create", order().to_string().as_bytes())
        );
    }
}

#[tokio::test]
async fn workers_problem_is_passed_on() {
    let conflict = Problem::conflict(&["total_fee"], orders::StateName::Payable);
    let reply = serde_json::to_value(orders::Reply::problem(conflict.clone())).unwrap();
    let broker = TestBroker::start().await;
    let _worker = FakeWorker::start(&broker, Queue::Orders, move |_| Some(reply.clone())).await;
    let server = TestServer::start(broker.config()).await.ready().await;
    for request in [create(), post(format!("{}/close", order_path()), "")] {
        let answer = request.header("prefer", "wait=30").send(server.private).await;
        assert_eq!(answer.problem(409, "conflict"), serde_json::to_value(&conflict).unwrap());
    }
}

#[tokio::test]
async fn command_without_reply_in_time_is_accepted() {
    let broker = TestBroker::start().await;
    let mut worker = FakeWorker::silent(&broker, Queue::Orders).await;
    let server = TestServer::start(broker.config()).await.ready().await;
    let since = Instant::now();
    let answer = create().header("prefer", "wait=1").send(server.private).await;
    assert!(since.elapsed() >= Duration::from_millis(900), "{:?}", since.elapsed());
    assert_eq!(answer.status, 202);
    assert_eq!(answer.header("location"), Some(order_path().as_str()));
    assert_eq!(answer.header("preference-applied"), Some("wait=1"));
    assert_eq!(answer.json()["status"], "accepted");
    worker.next().await;
}

#[tokio::test]
async fn malformed_reply_counts_as_none() {
    let broker = TestBroker::start().await;
    let _worker = FakeWorker::start(&broker, Queue::Orders, |_| Some(json!({"status": 200}))).await;
    let server = TestServer::start(broker.config()).await.ready().await;
    let answer = create().header("prefer", "wait=30").send(server.private).await;
    assert_eq!((answer.status, &answer.json()["status"]), (202, &json!("accepted")));
}

#[tokio::test]
async fn query_is_answered_with_the_workers_reply() {
    let broker = TestBroker::start().await;
    let answers = |delivery: &Delivery| {
        let key: orders::OrderKey = serde_json::from_slice(&delivery.body).expect("a key");
        let known = key.out_trade_no.as_str().starts_with("SO");
        let unknown = || serde_json::to_value(orders::Reply::problem(Problem::not_found()));
        Some(if known {
            json!({"status": 200, "order": order()})
        } else {
            unknown().expect("JSON")
        })
    };
    let mut worker = FakeWorker::start(&broker, Queue::Queries, answers).await;
    let server = TestServer::start(broker.config()).await.ready().await;
    let answer = get(order_path()).send(server.private).await;
    assert_eq!((answer.status, answer.json()), (200, order()));
    assert_eq!(worker.next().await.routing_key, "order.query");
    get("/v1/orders/1900000109/unknown").send(server.private).await.problem(404, "not-found");
}

#[tokio::test]
async fn query_without_reply_is_answered_504() {
    let broker = TestBroker::start().await;
    // Also the time for the confirm, which must arrive on a busy machine, too.
    let limits = Limits { query_timeout: Duration::from_secs(2), ..Limits::default() };
    let config = Config { limits, ..broker.config() };
    let server = TestServer::start(config).await.ready().await;
    get(order_path()).send(server.private).await.problem(504, "no-answer");
}

#[tokio::test]
async fn concurrent_waits_get_their_own_replies() {
    let broker = TestBroker::start().await;
    let _worker = FakeWorker::start(&broker, Queue::Orders, with_status(200)).await;
    let server = TestServer::start(broker.config()).await.ready().await;
    let mut waiting = tokio::task::JoinSet::new();
    for number in 0..50 {
        let mut order = order();
        let private = server.private;
        order["out_trade_no"] = json!(format!("SO{number:010}"));
        waiting.spawn(async move {
            let create = post("/v1/orders", order.to_string()).header("prefer", "wait=30");
            let answer = create.send(private).await;
            assert_eq!((answer.status, answer.json()), (200, order));
        });
    }
    while let Some(checked) = waiting.join_next().await {
        checked.unwrap();
    }
}

#[tokio::test]
async fn wait_is_answered_accepted_when_the_service_stops() {
    let broker = TestBroker::start().await;
    let mut worker = FakeWorker::silent(&broker, Queue::Orders).await;
    let server = TestServer::start(broker.config()).await.ready().await;
    let mut waiting = Connection::open(server.private).await;
    waiting.write(&create().header("prefer", "wait=30").bytes()).await;
    worker.next().await;
    let since = Instant::now();
    server.end().await.unwrap();
    assert!(since.elapsed() < Duration::from_secs(20), "{:?}", since.elapsed());
    let answer = waiting.answer().await;
    assert_eq!((answer.status, &answer.json()["status"]), (202, &json!("accepted")));
}
