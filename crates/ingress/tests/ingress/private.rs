//! The private listener, without a broker and without clients.

use ingress::Merchants;
use serde_json::json;

use crate::http::{get, post};
use crate::samples::{order, order_path, order_with};
use crate::test_server::{TestServer, config_without_broker};

#[tokio::test]
async fn service_without_broker_is_healthy_and_not_ready() {
    let server = TestServer::start_without_broker().await;
    assert_eq!(get("/healthz").send(server.private).await.status, 200);
    let ready = get("/readyz").send(server.private).await;
    assert_eq!((ready.status, ready.text()), (503, "no usable connection to the broker\n"));
}

#[tokio::test]
async fn commands_without_broker_are_answered_503() {
    let server = TestServer::start_without_broker().await;
    let create = post("/v1/orders", order().to_string());
    let close = post(format!("{}/close", order_path()), "");
    for request in [
        create.clone(),
        create.header("Prefer", "wait=30"),
        close.clone(),
        close.header("Prefer", "wait=30"),
        get(order_path()),
    ] {
        let answer = request.send(server.private).await;
        answer.problem(503, "not-accepted");
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
}

#[tokio::test]
async fn body_that_is_no_order_is_malformed() {
    let server = TestServer::start_without_broker().await;
    for bad in ["", "[]", "{", "<xml/>", "{\"mch_id\":\"1\",\"mch_id\":\"1\"}"] {
        post("/v1/orders", bad).send(server.private).await.problem(400, "malformed");
    }
    let order = order().to_string();
    let as_xml = post("/v1/orders", order.clone()).header("content-type", "text/xml");
    as_xml.send(server.private).await.problem(400, "malformed");
    let compressed = post("/v1/orders", order.clone()).header("content-encoding", "br");
    compressed.send(server.private).await.problem(400, "malformed");
    let as_json =
        post("/v1/orders", order).header("content-type", "Application/JSON; charset=utf-8");
    as_json.send(server.private).await.problem(503, "not-accepted");
    let large = post("/v1/orders", " ".repeat(64 * 1024 + 1)).send(server.private).await;
    large.problem(413, "too-large");
}

#[tokio::test]
async fn every_wrong_field_is_named() {
    let server = TestServer::start_without_broker().await;
    let mut order = order_with("total_fee", json!(0));
    order["spbill_create_ip"] = json!("here");
    order["notify_url"] = json!("https://example.com");
    let answer = post("/v1/orders", order.to_string()).send(server.private).await;
    answer.problem(422, "invalid-order");
    assert_eq!(answer.wrong_fields(), ["total_fee", "spbill_create_ip", "notify_url"]);
    let answer = post("/v1/orders", order_with("openid", json!(null)).to_string());
    assert_eq!(answer.send(server.private).await.wrong_fields(), ["openid"]);
}

#[tokio::test]
async fn merchant_not_served_has_no_orders() {
    let mut config = config_without_broker().await;
    config.merchants = Merchants::parse("1900000110,1900000111").unwrap();
    let server = TestServer::start(config).await;
    let answer = post("/v1/orders", order().to_string()).send(server.private).await;
    answer.problem(422, "invalid-order");
    assert_eq!(answer.wrong_fields(), ["mch_id"]);
    get(order_path()).send(server.private).await.problem(404, "not-found");
    let close = post(format!("{}/close", order_path()), "");
    close.send(server.private).await.problem(404, "not-found");
}

#[tokio::test]
async fn path_that_names_no_order_is_answered_404() {
    let server = TestServer::start_without_broker().await;
    for path in
        ["/v1/orders/shop/SO20260721000001", "/v1/orders/1900000109/short", "/v1/orders/1/%ff"]
    {
        get(path).send(server.private).await.problem(404, "not-found");
        let close = post(format!("{path}/close"), "");
        close.send(server.private).await.problem(404, "not-found");
    }
}

#[tokio::test]
async fn wait_out_of_bounds_is_answered_400() {
    let server = TestServer::start_without_broker().await;
    for bad in ["wait=0", "wait=31", "wait", "respond-async, wait=soon"] {
        for request in
            [post("/v1/orders", order().to_string()), post(format!("{}/close", order_path()), "")]
        {
            let answer = request.header("prefer", bad).send(server.private).await;
            answer.problem(400, "invalid-header");
            assert_eq!(answer.wrong_fields(), ["Prefer"]);
        }
    }
}

#[tokio::test]
async fn unknown_path_or_method_is_a_problem() {
    let server = TestServer::start_without_broker().await;
    get("/v2/orders").send(server.private).await.problem(404, "no-route");
    post("/notify/1900000109/payment", "<xml/>")
        .send(server.private)
        .await
        .problem(404, "no-route");
    let answer = get("/v1/orders").send(server.private).await;
    answer.problem(405, "wrong-method");
    assert_eq!(answer.header("allow"), Some("POST"));
    post("/healthz", "").send(server.private).await.problem(405, "wrong-method");
}

#[tokio::test]
async fn requests_are_counted_by_route_and_status() {
    let server = TestServer::start_without_broker().await;
    get(order_path()).send(server.private).await.problem(503, "not-accepted");
    get("/v1/nothing/here").send(server.private).await.problem(404, "no-route");
    let metrics = get("/metrics").send(server.private).await;
    assert_eq!(metrics.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    for expected in [
        "wxpay_http_requests_total{listener=\"private\",\
         route=\"/v1/orders/{mch_id}/{out_trade_no}\",status=\"503\"}",
        "wxpay_http_requests_total{listener=\"private\",route=\"unmatched\",status=\"404\"}",
        "http_server_request_duration_seconds_bucket{listener=\"private\",",
        "wxpay_shed_total{reason=\"no_broker\"}",
        "wxpay_build_info{service=\"ingress\",version=",
        "wxpay_inflight{kind=\"http_private\"}",
    ] {
        assert!(metrics.text().contains(expected), "{expected}\n{}", metrics.text());
    }
}
