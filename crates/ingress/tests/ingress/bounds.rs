//! Clients that are slow, large or many.

use std::time::Duration;

use ingress::{Config, Limits};
use tokio::time::timeout;

use crate::http::{Connection, DEADLINE, get, post};
use crate::samples::{NOTIFICATION, notify_path, order};
use crate::test_server::{TestServer, config_without_broker, until};

const SHORT: Duration = Duration::from_millis(100);
/// So long that only the bound under test can end a wait.
const LONG: Duration = Duration::from_secs(600);

async fn server(limits: Limits) -> TestServer {
    TestServer::start(Config { limits, ..config_without_broker().await }).await
}

#[tokio::test]
async fn slow_headers_close_the_connection() {
    let server = server(Limits { header_timeout: SHORT, ..Limits::default() }).await;
    for address in [server.public, server.private] {
        let mut silent = Connection::open(address).await;
        let mut slow = Connection::open(address).await;
        slow.write(b"POST /notify/1/payment HTTP/1.1\r\nx: ").await;
        timeout(DEADLINE, slow.drip(b'x')).await.expect("is cut off in time");
        silent.closed().await;
    }
}

#[tokio::test]
async fn idle_connection_is_closed() {
    let server = server(Limits { header_timeout: SHORT, ..Limits::default() }).await;
    let mut connection = Connection::open(server.private).await;
    connection.write(&get("/healthz").bytes()).await;
    assert_eq!(connection.answer().await.status, 200);
    connection.closed().await;
}

#[tokio::test]
async fn stalled_body_is_answered_408() {
    let limits =
        Limits { public_body_timeout: SHORT, private_body_timeout: SHORT, ..Limits::default() };
    let server = server(limits).await;
    // Stalled: the whole body is announced and a part of it arrives.
    let mut stalled = Connection::open(server.public).await;
    let request = post(notify_path(), NOTIFICATION).bytes();
    stalled.write(&request[..request.len() - 10]).await;
    stalled.answer().await.assert_fail(408);
    let mut stalled = Connection::open(server.private).await;
    let request = post("/v1/orders", order().to_string()).bytes();
    stalled.write(&request[..request.len() - 10]).await;
    stalled.answer().await.problem(408, "too-slow");
}

#[tokio::test]
async fn dripping_body_is_cut_off() {
    let server = server(Limits { public_body_timeout: SHORT, ..Limits::default() }).await;
    let mut dripping = Connection::open(server.public).await;
    dripping.write(&post(notify_path(), vec![b'x'; 60_000]).head()).await;
    timeout(DEADLINE, dripping.drip(b'x')).await.expect("is cut off in time");
}

#[tokio::test]
async fn long_headers_are_answered_431() {
    let server = server(Limits { header_bytes: 8192, ..Limits::default() }).await;
    for address in [server.public, server.private] {
        let fits = get("/").header("x", &"x".repeat(7000)).send(address).await;
        assert_eq!(fits.status, 404);
        let long = get("/").header("x", &"x".repeat(10_000)).send(address).await;
        assert_eq!(long.status, 431);
    }
}

#[tokio::test]
async fn requests_over_the_limit_are_refused() {
    let limits = Limits {
        requests: 1,
        public_body_timeout: LONG,
        private_body_timeout: LONG,
        ..Limits::default()
    };
    let server = server(limits).await;

    let notification = post(notify_path(), NOTIFICATION);
    let mut first = Connection::open(server.public).await;
    first.write(&notification.head()).await;
    until("another notification is shed", async || {
        notification.send(server.public).await.text().contains("busy")
    })
    .await;
    notification.send(server.public).await.assert_fail(503);
    first.write(NOTIFICATION.as_bytes()).await;
    assert!(first.answer().await.text().contains("not accepted"), "the first is still served");

    let create = post("/v1/orders", order().to_string());
    let mut first = Connection::open(server.private).await;
    first.write(&create.head()).await;
    until("another order is shed", async || create.send(server.private).await.status == 429).await;
    create.send(server.private).await.problem(429, "too-many-requests");
    for probe in ["/healthz", "/readyz", "/metrics"] {
        assert_ne!(get(probe).send(server.private).await.status, 429, "{probe}");
    }
    first.write(order().to_string().as_bytes()).await;
    first.answer().await.problem(503, "not-accepted");
}

#[tokio::test]
async fn connections_over_the_limit_wait() {
    let server = server(Limits { connections: 2, header_timeout: LONG, ..Limits::default() }).await;
    let health = get("/healthz").bytes();
    let mut connections = Vec::new();
    for _ in 0..2 {
        let mut connection = Connection::open(server.private).await;
        connection.write(&health).await;
        assert_eq!(connection.answer().await.status, 200);
        connections.push(connection);
    }
    let mut third = Connection::open(server.private).await;
    third.write(&health).await;
    assert!(timeout(SHORT, third.try_answer()).await.is_err(), "no connection is free");
    connections.pop();
    assert_eq!(third.answer().await.status, 200);
}

#[tokio::test]
async fn old_connection_is_closed() {
    let limits = Limits { connection_age: SHORT, header_timeout: LONG, ..Limits::default() };
    let server = server(limits).await;
    let mut connection = Connection::open(server.private).await;
    let mut answered = 0;
    let busy = async {
        loop {
            if connection.try_ask(&get("/healthz").bytes()).await.is_none() {
                break;
            }
            answered += 1;
            assert!(answered <= 1_000_000, "this connection stays open for ever");
        }
    };
    timeout(DEADLINE, busy).await.expect("is closed in time");
}
