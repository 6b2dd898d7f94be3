//! The public listener, without a broker.

use ingress::Merchants;

use crate::http::{Connection, get, post};
use crate::samples::{NOTIFICATION, notify_path};
use crate::test_server::{TestServer, config_without_broker};

#[tokio::test]
async fn notification_without_broker_is_answered_fail() {
    let server = TestServer::start_without_broker().await;
    for path in ["/notify/1900000109/payment", "/notify/1900000109/refund"] {
        post(path, NOTIFICATION).send(server.public).await.assert_fail(503);
    }
}

#[tokio::test]
async fn merchant_not_served_is_answered_404() {
    let mut config = config_without_broker().await;
    config.merchants = Merchants::parse("1900000109").unwrap();
    let server = TestServer::start(config).await;
    post("/notify/1900000110/payment", NOTIFICATION).send(server.public).await.assert_fail(404);
    post("/notify/shop/payment", NOTIFICATION).send(server.public).await.assert_fail(404);
    post("/notify/%ff/refund", NOTIFICATION).send(server.public).await.assert_fail(404);
    // Whatever else is wrong with the request.
    post("/notify/1900000110/payment", "x".repeat(65 * 1024))
        .send(server.public)
        .await
        .assert_fail(404);
    post(notify_path(), NOTIFICATION).send(server.public).await.assert_fail(503);
}

#[tokio::test]
async fn body_that_is_no_notification_is_answered_400() {
    let server = TestServer::start_without_broker().await;
    for bad in [
        &b""[..],
        b"  \r\n",
        b"{\"a\":1}",
        b"<xml>\xff</xml>",
        b"<!DOCTYPE xml><xml/>",
        b"<?xml version=\"1.0\"?><!doctype xml><xml/>",
        b"<xml><!ENTITY a \"b\"></xml>",
    ] {
        post(notify_path(), bad).send(server.public).await.assert_fail(400);
    }
    let compressed = post(notify_path(), NOTIFICATION).header("content-encoding", "gzip");
    compressed.send(server.public).await.assert_fail(400);
    let plain = post(notify_path(), NOTIFICATION).header("content-encoding", "identity");
    plain.send(server.public).await.assert_fail(503);
}

#[tokio::test]
async fn notification_over_64_kib_is_answered_413() {
    let server = TestServer::start_without_broker().await;
    let of_size = |bytes: usize| {
        let frame = "<xml></xml>".len();
        post(notify_path(), format!("<xml>{}</xml>", "x".repeat(bytes - frame)))
    };
    of_size(64 * 1024).send(server.public).await.assert_fail(503);
    of_size(64 * 1024 + 1).send(server.public).await.assert_fail(413);
    // More than is read and discarded: the announced length is enough.
    let mut connection = Connection::open(server.public).await;
    let huge =
        format!("POST {} HTTP/1.1\r\nhost: a\r\ncontent-length: 9999999\r\n\r\n", notify_path());
    connection.write(huge.as_bytes()).await;
    connection.answer().await.assert_fail(413);
    connection.closed().await;
}

#[tokio::test]
async fn chunked_body_over_64_kib_is_answered_413() {
    let server = TestServer::start_without_broker().await;
    let mut connection = Connection::open(server.public).await;
    let head =
        format!("POST {} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n", notify_path());
    connection.write(head.as_bytes()).await;
    for _ in 0..65 {
        connection.write(format!("400\r\n{}\r\n", "x".repeat(1024)).as_bytes()).await;
    }
    connection.write(b"0\r\n\r\n").await;
    connection.answer().await.assert_fail(413);
}

#[tokio::test]
async fn public_listener_serves_only_notifications() {
    let server = TestServer::start_without_broker().await;
    for path in ["/", "/v1/orders", "/healthz", "/readyz", "/metrics", "/openapi.json", "/notify"] {
        get(path).send(server.public).await.assert_fail(404);
        post(path, "{}").send(server.public).await.assert_fail(404);
    }
    for method in ["GET", "PUT", "DELETE", "OPTIONS"] {
        let answer = get(notify_path()).method(method).send(server.public).await;
        answer.assert_fail(405);
        assert_eq!(answer.header("allow"), Some("POST"));
    }
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let server = TestServer::start_without_broker().await;
    let mut connection = Connection::open(server.public).await;
    for _ in 0..3 {
        connection.write(&post(notify_path(), NOTIFICATION).bytes()).await;
        connection.answer().await.assert_fail(503);
        connection.write(&get("/").bytes()).await;
        connection.answer().await.assert_fail(404);
    }
}
