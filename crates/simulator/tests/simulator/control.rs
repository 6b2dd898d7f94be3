use serde_json::{Value, json};
use simulator::{Api, OrderView, PayOptions};

use crate::support::*;

#[tokio::test]
async fn control_api_refuses_invalid_requests() {
    let gateway = gateway().await;
    gateway.create(order(NO_ENDPOINT)).await;
    let pay = format!("/_sim/pay/{MCH_ID}/{ORDER_NO}");
    let plan = |fault: Value| json!({"unifiedorder": [fault]});
    for (path, body, expected) in [
        (pay.as_str(), json!({"notfiy": 1}), 400),
        (&pay, json!({"sign": "sha1"}), 400),
        (&pay, json!({"malform": "ugly"}), 400),
        (&pay, json!({"notify": 101}), 422),
        (&pay, json!({"notify_only": true, "state_only": true}), 422),
        (&pay, json!({"extra_fields": {"not a name": "x"}}), 422),
        (&pay, json!({"extra_fields": {"a": "\u{0}"}}), 422),
        (&pay, json!({"empty_fields": ["sign"]}), 422),
        (&pay, json!({"notify_url": "no-url"}), 422),
        (&format!("/_sim/pay/{MCH_ID}/unknown_1"), json!({}), 404),
        (&format!("/_sim/pay/1699000009/{ORDER_NO}"), json!({}), 404),
        (&format!("/_sim/pay/no-merchant/{ORDER_NO}"), json!({}), 404),
        (&format!("/_sim/state/{MCH_ID}/unknown_1"), json!({"trade_state": "CLOSED"}), 404),
        (&format!("/_sim/state/{MCH_ID}/{ORDER_NO}"), json!({"trade_state": "REFUND"}), 409),
        (&format!("/_sim/state/{MCH_ID}/{ORDER_NO}"), json!({"trade_state": ""}), 422),
        ("/_sim/faults", json!({"refund": []}), 400),
        ("/_sim/faults", plan(json!({"fault": "gremlins"})), 400),
        ("/_sim/faults", plan(json!({"fault": "hold", "time": 1})), 400),
        ("/_sim/faults", plan(json!({"fault": {"return_fail": "\u{1}"}})), 422),
        ("/_sim/release", json!({"api": "refund"}), 400),
    ] {
        let (status, answer) = gateway.control(path, body.clone()).await;
        assert_eq!(status, expected, "{path} {body}");
        assert!(answer["error"].as_str().is_some_and(|text| !text.is_empty()));
    }
    assert_eq!(gateway.query(ORDER_NO).await.get("trade_state"), Some("NOTPAY"));
    assert_eq!(gateway.get(&format!("/_sim/orders/{MCH_ID}/unknown_1")).await.0, 404);
    assert_eq!(gateway.get("/_sim/healthz").await, (200, json!({"status": "ok"})));
}

#[tokio::test]
async fn order_view_has_no_payer() {
    let gateway = gateway().await;
    for number in ["number_1", "number_2"] {
        gateway.create(with(order(NO_ENDPOINT), &[("out_trade_no", number)])).await;
    }
    let options = PayOptions { notify: Some(0), ..PayOptions::default() };
    gateway.pay(MCH_ID, "number_1", &options).unwrap();
    let (_, one) = gateway.get(&format!("/_sim/orders/{MCH_ID}/number_1")).await;
    assert_eq!(one["trade_state"], "SUCCESS");
    assert_eq!(one["total_fee"], 9900);
    assert_eq!(one["payments"][0]["transaction_id"], one["transaction_id"]);
    let parameters = one["parameters"].as_array().unwrap();
    assert!(parameters.contains(&json!("openid")) && !parameters.contains(&json!("sign")));
    assert!(!one.to_string().contains(OPENID));
    let view: OrderView = serde_json::from_value(one).unwrap();
    assert_eq!(Some(view), gateway.order(MCH_ID, "number_1"));

    let (_, all) = gateway.get("/_sim/orders").await;
    let numbers = |listed: &Value| -> Vec<String> {
        let orders = listed["orders"].as_array().unwrap().iter();
        orders.map(|o| o["out_trade_no"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(numbers(&all), ["number_1", "number_2"]);
    let (_, newest) = gateway.get("/_sim/orders?limit=1").await;
    assert_eq!(numbers(&newest), ["number_2"]);
}

#[tokio::test]
async fn calls_are_counted_by_outcome_and_by_order() {
    let gateway = gateway().await;
    gateway.create(order(NO_ENDPOINT)).await;
    gateway.create(with(order(NO_ENDPOINT), &[("body", "x")])).await;
    gateway.query(ORDER_NO).await;
    gateway.query("unknown_1").await;
    gateway.post("/pay/orderquery", "garbage").await;
    let (_, counts) = gateway.get("/_sim/requests").await;
    let expected = json!({
        "unifiedorder": {"SUCCESS": 1, "INVALID_REQUEST": 1},
        "orderquery": {"SUCCESS": 1, "ORDERNOTEXIST": 1, "FAIL": 1},
    });
    assert_eq!(counts["apis"], expected);
    let calls = gateway.calls(MCH_ID, ORDER_NO);
    assert_eq!((calls.unifiedorder, calls.orderquery, calls.closeorder), (2, 1, 0));
    assert_eq!(gateway.calls(MCH_ID, "unknown_1").orderquery, 1);
    assert_eq!(gateway.request_counts().apis[&Api::Orderquery]["FAIL"], 1);
}

/// An order's texts never become mark-up: the page is the same whatever the orders are, and no
/// script but its own runs.
#[tokio::test]
async fn page_runs_no_markup_of_an_order() {
    let gateway = gateway().await;
    let hostile = "<script>alert(1)</script>";
    let answer = gateway.create(with(order(NO_ENDPOINT), &[("body", hostile)])).await;
    assert_eq!(answer.get("result_code"), Some("SUCCESS"));
    let page = async || {
        let got = reqwest::get(format!("{}/_sim/", gateway.url())).await.unwrap();
        let policy = got.headers()["content-security-policy"].to_str().unwrap().to_owned();
        (policy, got.text().await.unwrap())
    };
    let (policy, text) = page().await;
    assert!(!text.contains("alert(1)") && !text.contains("{nonce}"));
    assert!(!text.contains("innerHTML"));
    let nonce = text.split("<script nonce=\"").nth(1).unwrap().split('"').next().unwrap();
    assert!(policy.contains(&format!("script-src 'nonce-{nonce}'")), "{policy}");
    assert!(policy.starts_with("default-src 'none'"));
    assert!(!page().await.1.contains(nonce), "fresh each time");
    assert!(!text.contains("http://") && !text.contains("https://"), "self-contained");
}
