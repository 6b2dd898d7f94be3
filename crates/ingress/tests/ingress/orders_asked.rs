//! Commands and questions that somebody waits for.

use std::time::Duration;

use broker::{Delivery, Queue};
use ingress::{Config, Limits};
use orders::Problem;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    fake_worker::FakeWorker,
    http::{Connection, Request, get, post},
    service::Service,
    texts::{order, order_path},
    world::World,
};

fn create() -> Request {
    post("/v1/orders", order().to_string())
}

/// A reply to a create that says what was asked.
fn with_status(status: u16) -> impl Fn(&Delivery) -> Option<Value> {
    move |asked| {
        let order: Value = serde_json::from_slice(&asked.body).expect("JSON");
        Some(json!({"status": status, "order": order}))
    }
}

#[tokio::test]
async fn the_workers_answer_is_passed_on() {
    for status in [200, 202] {
        let world = World::start().await;
        let mut worker = FakeWorker::start(&world, Queue::Orders, with_status(status)).await;
        let service = Service::start(world.config()).await.ready().await;
        let answer = create().header("prefer", "wait=30").send(service.private).await;
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
async fn the_workers_problem_is_passed_on() {
    let conflict = Problem::conflict(&["total_fee"], orders::StateName::Payable);
    let reply = serde_json::to_value(orders::Reply::problem(conflict.clone())).unwrap();
    let world = World::start().await;
    let _worker = FakeWorker::start(&world, Queue::Orders, move |_| Some(reply.clone())).await;
    let service = Service::start(world.config()).await.ready().await;
    for request in [create(), post(format!("{}/close", order_path()), "")] {
        let answer = request.header("prefer", "wait=30").send(service.private).await;
        assert_eq!(answer.problem(409, "conflict"), serde_json::to_value(&conflict).unwrap());
    }
}

#[tokio::test]
async fn when_nobody_answers_the_command_is_accepted_all_the_same() {
    let world = World::start().await;
    let mut worker = FakeWorker::silent(&world, Queue::Orders).await;
    let service = Service::start(world.config()).await.ready().await;
    let since = Instant::now();
    let answer = create().header("prefer", "wait=1").send(service.private).await;
    assert!(since.elapsed() >= Duration::from_millis(900), "{:?}", since.elapsed());
    assert_eq!(answer.status, 202);
    assert_eq!(answer.header("location"), Some(order_path().as_str()));
    assert_eq!(answer.header("preference-applied"), Some("wait=1"));
    assert_eq!(answer.json()["status"], "accepted");
    worker.next().await;
}

#[tokio::test]
async fn an_answer_that_is_none_counts_as_none() {
    let world = World::start().await;
    let _worker = FakeWorker::start(&world, Queue::Orders, |_| Some(json!({"status": 200}))).await;
    let service = Service::start(world.config()).await.ready().await;
    let answer = create().header("prefer", "wait=30").send(service.private).await;
    assert_eq!((answer.status, &answer.json()["status"]), (202, &json!("accepted")));
}

#[tokio::test]
async fn a_question_is_answered_by_a_worker() {
    let world = World::start().await;
    let answers = |asked: &Delivery| {
        let key: orders::OrderKey = serde_json::from_slice(&asked.body).expect("a key");
        let known = key.out_trade_no.as_str().starts_with("SO");
        let unknown = || serde_json::to_value(orders::Reply::problem(Problem::not_found()));
        Some(if known {
            json!({"status": 200, "order": order()})
        } else {
            unknown().expect("JSON")
        })
    };
    let mut worker = FakeWorker::start(&world, Queue::Queries, answers).await;
    let service = Service::start(world.config()).await.ready().await;
    let answer = get(order_path()).send(service.private).await;
    assert_eq!((answer.status, answer.json()), (200, order()));
    assert_eq!(worker.next().await.routing_key, "order.query");
    get("/v1/orders/1900000109/unknown").send(service.private).await.problem(404, "not-found");
}

#[tokio::test]
async fn a_question_that_nobody_answers_ends_in_time() {
    let world = World::start().await;
    let limits = Limits { query_within: Duration::from_millis(200), ..Limits::default() };
    let config = Config { limits, ..world.config() };
    let service = Service::start(config).await.ready().await;
    get(order_path()).send(service.private).await.problem(504, "no-answer");
}

#[tokio::test]
async fn many_who_wait_get_each_their_own_answer() {
    let world = World::start().await;
    let _worker = FakeWorker::start(&world, Queue::Orders, with_status(200)).await;
    let service = Service::start(world.config()).await.ready().await;
    let mut waiting = tokio::task::JoinSet::new();
    for number in 0..50 {
        let (mut order, private) = (order(), service.private);
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
async fn whoever_waits_when_the_service_stops_is_told_what_is_sure() {
    let world = World::start().await;
    let mut worker = FakeWorker::silent(&world, Queue::Orders).await;
    let service = Service::start(world.config()).await.ready().await;
    let mut waiting = Connection::open(service.private).await;
    waiting.write(&create().header("prefer", "wait=30").bytes()).await;
    worker.next().await;
    let since = Instant::now();
    service.end().await.unwrap();
    assert!(since.elapsed() < Duration::from_secs(20), "{:?}", since.elapsed());
    let answer = waiting.answer().await;
    assert_eq!((answer.status, &answer.json()["status"]), (202, &json!("accepted")));
}
