use serde_json::{Value, json};
use simulator::{Fault, FaultPlan, HeldCall, HeldCallFilter, PlannedFault};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wechatpay_v2::{Limits, SignatureError, parse_xml, verify};

use crate::support::*;

async fn plan(gateway: &Gateway, plan: Value) {
    let (status, answer) = gateway.control("/_sim/faults", plan).await;
    assert_eq!(status, 200, "{answer}");
}

/// Creates the order over a bare connection and returns every byte that comes back.
async fn create_raw(gateway: &Gateway) -> Vec<u8> {
    let body = xml(&signed(order(NO_ENDPOINT)));
    let mut connection = tokio::net::TcpStream::connect(gateway.addr()).await.unwrap();
    let head = format!(
        "POST /pay/unifiedorder HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    connection.write_all(head.as_bytes()).await.unwrap();
    connection.write_all(body.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn drop_fault_closes_the_connection_without_a_byte() {
    let gateway = gateway().await;
    for (fault, effect) in [("drop_before", false), ("drop_after_commit", true)] {
        plan(&gateway, json!({"unifiedorder": [{"fault": fault}]})).await;
        assert_eq!(create_raw(&gateway).await, b"", "{fault}");
        assert_eq!(gateway.order(MCH_ID, ORDER_NO).is_some(), effect, "{fault}");
        assert_eq!(gateway.request_counts().apis[&simulator::Api::Unifiedorder][fault], 1);
    }
}

#[tokio::test]
async fn system_error_fault_comes_with_and_without_effect() {
    let gateway = gateway().await;
    for (fault, effect) in [("system_error", false), ("system_error_after_commit", true)] {
        plan(&gateway, json!({"unifiedorder": [{"fault": fault}]})).await;
        let answer = gateway.create(order(NO_ENDPOINT)).await;
        assert_eq!(answer.get("err_code"), Some("SYSTEMERROR"), "{fault}");
        assert!(!answer.contains("prepay_id"));
        assert_eq!(gateway.order(MCH_ID, ORDER_NO).is_some(), effect, "{fault}");
    }
    plan(&gateway, json!({"closeorder": [{"fault": "system_error_after_commit"}]})).await;
    assert_eq!(gateway.close(ORDER_NO).await.get("err_code"), Some("SYSTEMERROR"));
    assert_eq!(gateway.query(ORDER_NO).await.get("trade_state"), Some("CLOSED"));
}

#[tokio::test]
async fn planned_refusal_is_answered_once() {
    let gateway = gateway().await;
    let faults = json!({"unifiedorder": [
        {"fault": "frequency_limited"},
        {"fault": {"err_code": {"err_code": "NOAUTH", "err_code_des": "没有权限"}}},
        {"fault": {"return_fail": "系统维护"}},
    ]});
    plan(&gateway, faults).await;
    let answer = gateway.create(order(NO_ENDPOINT)).await;
    assert_eq!(answer.get("err_code"), Some("FREQUENCY_LIMITED"));
    let answer = gateway.create(order(NO_ENDPOINT)).await;
    assert_eq!(answer.get("err_code"), Some("NOAUTH"));
    assert_eq!(answer.get("err_code_des"), Some("没有权限"));
    let answer = gateway.create(order(NO_ENDPOINT)).await;
    assert_eq!(answer.get("return_msg"), Some("系统维护"));
    assert!(gateway.orders().is_empty());
    let answer = gateway.create(order(NO_ENDPOINT)).await;
    assert_eq!(answer.get("result_code"), Some("SUCCESS"), "the plan is used up");
}

#[tokio::test]
async fn fault_damages_the_answer() {
    let gateway = gateway().await;
    gateway.create(order(NO_ENDPOINT)).await;
    let query = async || {
        let fields = signed(common([("out_trade_no", ORDER_NO)]));
        gateway.post("/pay/orderquery", xml(&fields)).await
    };
    for fault in ["status_5xx", "html", "empty", "truncated", "bad_signature", "missing_signature"]
    {
        plan(&gateway, json!({"orderquery": [{"fault": fault}]})).await;
        let (status, body) = query().await;
        assert_eq!(status, if fault == "status_5xx" { 502 } else { 200 }, "{fault}");
        let parsed = parse_xml(body.as_bytes(), Limits::MESSAGE);
        let verified = parsed.map(|fields| verify(&fields, &key()));
        match fault {
            "status_5xx" | "html" => assert!(body.starts_with("<html>") && verified.is_err()),
            "empty" => assert_eq!(body, ""),
            "truncated" => assert!(body.starts_with("<xml>") && verified.is_err()),
            "bad_signature" => assert_eq!(verified, Ok(Err(SignatureError::Wrong))),
            _ => assert_eq!(verified, Ok(Err(SignatureError::Missing))),
        }
    }
    let others = [{ json!({"fault": "other_order"}) }];
    plan(&gateway, json!({"orderquery": others, "unifiedorder": others})).await;
    let found = gateway.query(ORDER_NO).await;
    assert!(found.get("out_trade_no").is_some_and(|number| number != ORDER_NO), "correctly signed");
    let created = gateway.create(with(order(NO_ENDPOINT), &[("out_trade_no", "other_1")])).await;
    assert_ne!(created.get("appid"), Some(APPID));
}

#[tokio::test]
async fn planned_fault_affects_only_its_order_or_merchant() {
    let gateway = gateway().await;
    let faults = json!({"orderquery": [
        {"fault": "system_error", "times": 2, "out_trade_no": ORDER_NO},
        {"fault": "frequency_limited", "times": 1, "mch_id": OTHER_MCH_ID},
    ]});
    plan(&gateway, faults).await;
    assert_eq!(gateway.query("another_1").await.get("err_code"), Some("ORDERNOTEXIST"));
    assert_eq!(gateway.query(ORDER_NO).await.get("err_code"), Some("SYSTEMERROR"));
    let (_, left) = gateway.get("/_sim/faults").await;
    assert_eq!(left["plan"]["orderquery"][0]["times"], 1);
    assert_eq!(gateway.query(ORDER_NO).await.get("err_code"), Some("SYSTEMERROR"));
    assert_eq!(gateway.query(ORDER_NO).await.get("err_code"), Some("ORDERNOTEXIST"));
    assert_eq!(gateway.faults().orderquery.len(), 1);
    let deleted = http().delete(format!("{}/_sim/faults", gateway.url()));
    assert_eq!(deleted.send().await.unwrap().status(), 200);
    assert_eq!(gateway.faults(), FaultPlan::default());
}

#[tokio::test]
async fn held_call_waits_until_it_is_released() {
    let gateway = gateway().await;
    for (fault, effect, number) in
        [(Fault::Hold, false, "held_1"), (Fault::HoldAfterCommit, true, "held_2")]
    {
        let unifiedorder = vec![PlannedFault::new(fault, 1)];
        gateway.set_faults(FaultPlan { unifiedorder, ..FaultPlan::default() }).unwrap();
        let call = gateway.create(with(order(NO_ENDPOINT), &[("out_trade_no", number)]));
        let release = async {
            until("the call is held", || gateway.held_calls().len() == 1).await;
            let expected = HeldCall {
                api: simulator::Api::Unifiedorder,
                mch_id: Some(MCH_ID.to_owned()),
                out_trade_no: Some(number.to_owned()),
            };
            assert_eq!(gateway.held_calls(), [expected]);
            assert_eq!(gateway.order(MCH_ID, number).is_some(), effect);
            let another = HeldCallFilter {
                out_trade_no: Some("another_1".to_owned()),
                ..HeldCallFilter::default()
            };
            assert_eq!(gateway.release(&another), 0);
            let (_, answer) =
                gateway.control("/_sim/release", json!({"out_trade_no": number})).await;
            assert_eq!(answer, json!({"released": 1}));
        };
        let (answer, ()) = tokio::join!(call, release);
        assert_eq!(answer.get("result_code"), Some("SUCCESS"));
    }
}

#[tokio::test]
async fn held_call_takes_effect_after_its_caller_disconnects() {
    let gateway = gateway().await;
    plan(&gateway, json!({"unifiedorder": [{"fault": "hold"}]})).await;
    let body = xml(&signed(order(NO_ENDPOINT)));
    let url = format!("{}/pay/unifiedorder", gateway.url());
    let call = tokio::spawn(http().post(url).body(body).send());
    until("the call is held", || gateway.held_calls().len() == 1).await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    assert_eq!(gateway.orders().len(), 0);
    assert_eq!(gateway.release(&HeldCallFilter::default()), 1);
    until("the order exists", || gateway.order(MCH_ID, ORDER_NO).is_some()).await;
}

#[tokio::test]
async fn delay_fault_slows_a_call_down() {
    let gateway = gateway().await;
    plan(&gateway, json!({"orderquery": [{"fault": {"delay_ms": 150}}]})).await;
    let started = std::time::Instant::now();
    gateway.query(ORDER_NO).await;
    assert!(started.elapsed().as_millis() >= 150);
}

#[tokio::test]
async fn held_call_does_not_keep_the_gateway_from_stopping() {
    // No other test listens on this address, so none can take the port once it is free.
    let gateway = gateway_on("127.0.0.2:0").await;
    let url = gateway.url();
    let addr = gateway.addr();
    plan(&gateway, json!({"orderquery": [{"fault": "hold"}]})).await;
    let query = signed(common([("out_trade_no", ORDER_NO)]));
    let call = http().post(format!("{url}/pay/orderquery")).body(xml(&query));
    let call = tokio::spawn(call.send());
    until("the call is held", || gateway.held_calls().len() == 1).await;
    gateway.finish().await;
    assert!(call.await.unwrap().is_err(), "the connection was closed");
    assert!(tokio::net::TcpStream::connect(addr).await.is_err());
}
