//! The public listener, without a broker.

use ingress::Merchants;

use crate::{
    http::{Connection, get, post},
    service::{Service, config_without_broker},
    texts::{NOTIFICATION, notify_path},
};

#[tokio::test]
async fn without_a_broker_wechat_is_asked_to_repeat() {
    let service = Service::start_without_broker().await;
    for path in ["/notify/1900000109/payment", "/notify/1900000109/refund"] {
        post(path, NOTIFICATION).send(service.public).await.assert_fail(503);
    }
}

#[tokio::test]
async fn a_merchant_that_is_not_served_is_not_found() {
    let mut config = config_without_broker().await;
    config.merchants = Merchants::parse("1900000109").unwrap();
    let service = Service::start(config).await;
    post("/notify/1900000110/payment", NOTIFICATION).send(service.public).await.assert_fail(404);
    post("/notify/shop/payment", NOTIFICATION).send(service.public).await.assert_fail(404);
    post("/notify/%ff/refund", NOTIFICATION).send(service.public).await.assert_fail(404);
    // Before anything else that is wrong with it.
    post("/notify/1900000110/payment", "x".repeat(65 * 1024))
        .send(service.public)
        .await
        .assert_fail(404);
    post(notify_path(), NOTIFICATION).send(service.public).await.assert_fail(503);
}

#[tokio::test]
async fn what_is_no_notification_is_refused() {
    let service = Service::start_without_broker().await;
    for bad in [
        &b""[..],
        b"  \r\n",
        b"{\"a\":1}",
        b"<xml>\xff</xml>",
        b"<!DOCTYPE xml><xml/>",
        b"<?xml version=\"1.0\"?><!doctype xml><xml/>",
        b"<xml><!ENTITY a \"b\"></xml>",
    ] {
        post(notify_path(), bad).send(service.public).await.assert_fail(400);
    }
    let compressed = post(notify_path(), NOTIFICATION).header("content-encoding", "gzip");
    compressed.send(service.public).await.assert_fail(400);
    let plain = post(notify_path(), NOTIFICATION).header("content-encoding", "identity");
    plain.send(service.public).await.assert_fail(503);
}

#[tokio::test]
async fn the_size_of_a_notification_is_bounded() {
    let service = Service::start_without_broker().await;
    let of_size = |bytes: usize| {
        let frame = "<xml></xml>".len();
        post(notify_path(), format!("<xml>{}</xml>", "x".repeat(bytes - frame)))
    };
    of_size(64 * 1024).send(service.public).await.assert_fail(503);
    of_size(64 * 1024 + 1).send(service.public).await.assert_fail(413);
    // More than is read for politeness: the announcement is enough.
    let mut connection = Connection::open(service.public).await;
    let huge =
        format!("POST {} HTTP/1.1\r\nhost: a\r\ncontent-length: 9999999\r\n\r\n", notify_path());
    connection.write(huge.as_bytes()).await;
    connection.answer().await.assert_fail(413);
    connection.ended().await;
}

#[tokio::test]
async fn a_chunked_body_is_bounded_too() {
    let service = Service::start_without_broker().await;
    let mut connection = Connection::open(service.public).await;
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
async fn nothing_else_is_served_to_the_public() {
    let service = Service::start_without_broker().await;
    for path in ["/", "/v1/orders", "/healthz", "/readyz", "/metrics", "/openapi.json", "/notify"] {
        get(path).send(service.public).await.assert_fail(404);
        post(path, "{}").send(service.public).await.assert_fail(404);
    }
    for method in ["GET", "PUT", "DELETE", "OPTIONS"] {
        let answer = get(notify_path()).method(method).send(service.public).await;
        answer.assert_fail(405);
        assert_eq!(answer.header("allow"), Some("POST"));
    }
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let service = Service::start_without_broker().await;
    let mut connection = Connection::open(service.public).await;
    for _ in 0..3 {
        connection.write(&post(notify_path(), NOTIFICATION).bytes()).await;
        connection.answer().await.assert_fail(503);
        connection.write(&get("/").bytes()).await;
        connection.answer().await.assert_fail(404);
    }
}
