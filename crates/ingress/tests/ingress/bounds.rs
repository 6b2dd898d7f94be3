//! Clients that are slow, large or many.

use std::time::Duration;

use ingress::{Config, Limits};
use tokio::time::timeout;

use crate::{
    http::{Connection, DEADLINE, get, post},
    service::{Service, config_without_broker, until},
    texts::{NOTIFICATION, notify_path, order},
};

const SHORT: Duration = Duration::from_millis(100);
/// So long that only the bound under test can end what is waited for.
const LONG: Duration = Duration::from_secs(600);

async fn service(limits: Limits) -> Service {
    Service::start(Config { limits, ..config_without_broker().await }).await
}

#[tokio::test]
async fn slow_headers_end_the_connection() {
    let service = service(Limits { header_within: SHORT, ..Limits::default() }).await;
    for address in [service.public, service.private] {
        let mut silent = Connection::open(address).await;
        let mut slow = Connection::open(address).await;
        slow.write(b"POST /notify/1/payment HTTP/1.1\r\nx: ").await;
        timeout(DEADLINE, slow.drip(b'x')).await.expect("is cut off in time");
        silent.ended().await;
    }
}

#[tokio::test]
async fn an_idle_connection_is_ended() {
    let service = service(Limits { header_within: SHORT, ..Limits::default() }).await;
    let mut connection = Connection::open(service.private).await;
    connection.write(&get("/healthz").bytes()).await;
    assert_eq!(connection.answer().await.status, 200);
    connection.ended().await;
}

#[tokio::test]
async fn a_slow_body_is_given_up() {
    let limits =
        Limits { public_body_within: SHORT, private_body_within: SHORT, ..Limits::default() };
    let service = service(limits).await;
    // Stalled: the whole body is announced and half of it comes.
    let mut stalled = Connection::open(service.public).await;
    let request = post(notify_path(), NOTIFICATION).bytes();
    stalled.write(&request[..request.len() - 10]).await;
    stalled.answer().await.assert_fail(408);
    let mut stalled = Connection::open(service.private).await;
    let request = post("/v1/orders", order().to_string()).bytes();
    stalled.write(&request[..request.len() - 10]).await;
    stalled.answer().await.problem(408, "too-slow");
}

#[tokio::test]
async fn a_dripping_body_is_given_up_too() {
    let service = service(Limits { public_body_within: SHORT, ..Limits::default() }).await;
    let mut dripping = Connection::open(service.public).await;
    dripping.write(&post(notify_path(), vec![b'x'; 60_000]).head()).await;
    timeout(DEADLINE, dripping.drip(b'x')).await.expect("is cut off in time");
}

#[tokio::test]
async fn long_headers_are_refused() {
    let service = service(Limits { header_bytes: 8192, ..Limits::default() }).await;
    for address in [service.public, service.private] {
        let fits = get("/").header("x", &"x".repeat(7000)).send(address).await;
        assert_eq!(fits.status, 404);
        let long = get("/").header("x", &"x".repeat(10_000)).send(address).await;
        assert_eq!(long.status, 431);
    }
}

#[tokio::test]
async fn more_requests_than_are_bearable_are_shed() {
    let limits = Limits {
        requests: 1,
        public_body_within: LONG,
        private_body_within: LONG,
        ..Limits::default()
    };
    let service = service(limits).await;

    let notification = post(notify_path(), NOTIFICATION);
    let mut first = Connection::open(service.public).await;
    first.write(&notification.head()).await;
    until("another notification is shed", async || {
        notification.send(service.public).await.text().contains("busy")
    })
    .await;
    notification.send(service.public).await.assert_fail(503);
    first.write(NOTIFICATION.as_bytes()).await;
    assert!(first.answer().await.text().contains("not accepted"), "the first is still served");

    let create = post("/v1/orders", order().to_string());
    let mut first = Connection::open(service.private).await;
    first.write(&create.head()).await;
    until("another order is shed", async || create.send(service.private).await.status == 429).await;
    create.send(service.private).await.problem(429, "too-many-requests");
    for probe in ["/healthz", "/readyz", "/metrics"] {
        assert_ne!(get(probe).send(service.private).await.status, 429, "{probe}");
    }
    first.write(order().to_string().as_bytes()).await;
    first.answer().await.problem(503, "not-accepted");
}

#[tokio::test]
async fn more_connections_than_are_bearable_wait() {
    let service =
        service(Limits { connections: 2, header_within: LONG, ..Limits::default() }).await;
    let health = get("/healthz").bytes();
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut connection = Connection::open(service.private).await;
        connection.write(&health).await;
        assert_eq!(connection.answer().await.status, 200);
        held.push(connection);
    }
    let mut third = Connection::open(service.private).await;
    third.write(&health).await;
    assert!(timeout(SHORT, third.try_answer()).await.is_err(), "there is no room for it");
    held.pop();
    assert_eq!(third.answer().await.status, 200);
}

#[tokio::test]
async fn an_old_connection_is_ended() {
    let limits = Limits { connection_age: SHORT, header_within: LONG, ..Limits::default() };
    let service = service(limits).await;
    let mut connection = Connection::open(service.private).await;
    let mut answered = 0;
    let busy = async {
        loop {
            connection.write(&get("/healthz").bytes()).await;
            match connection.try_answer().await {
                Some(_) => answered += 1,
                None => break,
            }
            if answered > 1_000_000 {
                panic!("this connection lives for ever");
            }
        }
    };
    timeout(DEADLINE, busy).await.expect("is ended in time");
}
