//! The description of the private API matches the API.

use serde_json::Value;

use crate::http::{Request, get, post};
use crate::samples::{order, order_path, order_with};
use crate::test_server::TestServer;

const ORDER: &str = "/v1/orders/{mch_id}/{out_trade_no}";
const CLOSE: &str = "/v1/orders/{mch_id}/{out_trade_no}/close";

fn description() -> Value {
    serde_json::from_str(ingress::OPENAPI).expect("JSON")
}

#[test]
fn description_names_every_route_and_status() {
    let expected: &[(&str, &str, &[u16])] = &[
        ("post", "/v1/orders", &[200, 202, 400, 401, 403, 408, 409, 413, 422, 429, 500, 503, 504]),
        ("get", ORDER, &[200, 401, 403, 404, 409, 422, 429, 500, 503, 504]),
        ("post", CLOSE, &[200, 202, 400, 401, 403, 404, 409, 422, 429, 500, 503, 504]),
        ("get", "/healthz", &[200]),
        ("get", "/readyz", &[200, 503]),
        ("get", "/metrics", &[200, 401]),
        ("get", "/openapi.json", &[200, 401]),
    ];
    let description = description();
    let paths = description["paths"].as_object().unwrap();
    assert_eq!(paths.len(), expected.len());
    for (method, path, statuses) in expected {
        let responses = paths[*path][*method]["responses"].as_object().unwrap();
        let described: Vec<u16> = responses.keys().map(|status| status.parse().unwrap()).collect();
        assert_eq!(described, *statuses, "{method} {path}");
    }
}

#[test]
fn description_has_no_dangling_reference() {
    fn check(part: &Value, whole: &Value) {
        if let Some(reference) = part.get("$ref").and_then(Value::as_str) {
            let pointer = reference.strip_prefix('#').expect("within the document");
            assert!(whole.pointer(pointer).is_some(), "{reference}");
        }
        let parts = part.as_object().into_iter().flat_map(|map| map.values());
        parts.chain(part.as_array().into_iter().flatten()).for_each(|part| check(part, whole));
    }
    check(&description(), &description());
}

#[test]
fn description_has_every_field_of_an_order() {
    let request = &description()["components"]["schemas"]["OrderRequest"];
    for (field, _) in order().as_object().unwrap() {
        assert!(request["properties"].get(field).is_some(), "{field}");
    }
    // Each field described as required is required.
    for field in request["required"].as_array().unwrap() {
        let without = order_with(field.as_str().unwrap(), Value::Null);
        assert!(orders::OrderRequest::parse(without.to_string().as_bytes()).is_err(), "{field}");
    }
    // Each field described exists: none is refused as unknown.
    for (field, _) in request["properties"].as_object().unwrap() {
        let with = order_with(field, Value::Bool(true)).to_string();
        let Err(orders::InvalidCommand::Fields { errors, .. }) =
            orders::OrderRequest::parse(with.as_bytes())
        else {
            panic!("{field} cannot be a boolean");
        };
        let rule = &errors.iter().find(|error| error.field == *field).unwrap().rule;
        assert!(!rule.contains("no field"), "{field}: {rule}");
    }
}

#[tokio::test]
async fn description_matches_what_is_served() {
    let server = TestServer::start_without_broker().await;
    let description = description();
    let requests: &[(&str, &str, Request)] = &[
        ("post", "/v1/orders", post("/v1/orders", order().to_string())),
        ("post", "/v1/orders", post("/v1/orders", "")),
        ("post", "/v1/orders", post("/v1/orders", "{}")),
        ("post", "/v1/orders", post("/v1/orders", "x".repeat(70_000))),
        ("get", ORDER, get(order_path())),
        ("get", ORDER, get("/v1/orders/1/short")),
        ("post", CLOSE, post(format!("{}/close", order_path()), "")),
        ("post", CLOSE, post(format!("{}/close", order_path()), "").header("prefer", "wait")),
        ("get", "/healthz", get("/healthz")),
        ("get", "/readyz", get("/readyz")),
        ("get", "/metrics", get("/metrics")),
        ("get", "/openapi.json", get("/openapi.json")),
    ];
    for (method, path, request) in requests {
        let status = request.send(server.private).await.status;
        let responses = &description["paths"][path][method]["responses"];
        assert!(responses.get(status.to_string()).is_some(), "{method} {path}: {status}");
    }
    let served = get("/openapi.json").send(server.private).await;
    assert_eq!(served.header("content-type"), Some("application/json"));
    assert_eq!(served.json(), description);
}
