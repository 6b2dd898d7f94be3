use serde_json::{Value, json};
use simulator::{Fault, FaultPlan, HeldCall, PlannedFault, Release};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wechatpay_v2::{Limits, SignatureError, parse_xml, verify};

use crate::support::*;

async fn plan(gateway: &Gateway, plan: Value) {
    let (status, answer) = gateway.control("/_sim/faults", plan).await;
    assert_eq!(status, 200, "{answer}");
}

/// Creates the order over a bare connection and returns every byte that comes back.
async fn create_raw(gateway: &Gateway) -> Vec<u8> {
    let body = xml(&signed(order(NOWHERE)));
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
async fn close_the_connection_without_a_byte() {
    let gateway = gateway().await;
    for (fault, effect) in [("drop_before", false), ("drop_after_commit", true)] {
        plan(&gateway, json!({"unifiedorder": [{"fault": fault}]})).await;
        assert_eq!(create_raw(&gateway).await, b"", "{fault}");
        assert_eq!(gateway.order(MCH_ID, NO).is_some(), effect, "{fault}");
        assert_eq!(gateway.request_counts().apis[&simulator::Api::Unifiedorder][fault], 1);
    }
}

#[tokio::test]
async fn answer_system_error_with_and_without_effect() {
    let gateway = gateway().await;
    for (fault, effect) in [("system_error", false), ("system_error_after_commit", true)] {
        plan(&gateway, json!({"unifiedorder": [{"fault": fault}]})).await;
        let answer = gateway.create(order(NOWHERE)).await;
        assert_eq!(answer.get("err_code"), Some("SYSTEMERROR"), "{fault}");
        assert!(!answer.contains("prepay_id"));
        assert_eq!(gateway.order(MCH_ID, NO).is_some(), effect, "{fault}");
    }
    plan(&gateway, json!({"closeorder": [{"fault": "system_error_after_commit"}]})).await;
    assert_eq!(gateway.close(NO).await.get("err_code"), Some("SYSTEMERROR"));
    assert_eq!(gateway.query(NO).await.get("trade_state"), Some("CLOSED"));
}

#[tokio::test]
async fn decline_in_any_words() {
    let gateway = gateway().await;
    let faults = json!({"unifiedorder": [
        {"fault": "frequency_limited"},
        {"fault": {"err_code": {"err_code": "NOAUTH", "err_code_des": "没有权限"}}},
        {"fault": {"return_fail": "系统维护"}},
    ]});
    plan(&gateway, faults).await;
    let answer = gateway.create(order(NOWHERE)).await;
    assert_eq!(answer.get("err_code"), Some("FREQUENCY_LIMITED"));
    let answer = gateway.create(order(NOWHERE)).await;
    assert_eq!(answer.get("err_code"), Some("NOAUTH"));
    assert_eq!(answer.get("err_code_des"), Some("没有权限"));
    let answer = gateway.create(order(NOWHERE)).await;
    assert_eq!(answer.get("return_msg"), Some("系统维护"));
    assert!(gateway.orders().is_empty());
    let answer = gateway.create(order(NOWHERE)).await;
    assert_eq!(answer.get("result_code"), Some("SUCCESS"), "the plan is used up");
}

#[tokio::test]
async fn damage_the_answer() {
    let gateway = gateway().await;
    gateway.create(order(NOWHERE)).await;
    let ask = async || {
        let asked = signed(common([("out_trade_no", NO)]));
        gateway.post("/pay/orderquery", xml(&asked)).await
    };
    for fault in ["status_5xx", "html", "empty", "truncated", "bad_signature", "missing_signature"]
    {
        plan(&gateway, json!({"orderquery": [{"fault": fault}]})).await;
        let (status, body) = ask().await;
        assert_eq!(status, if fault == "status_5xx" { 502 } else { 200 }, "{fault}");
        let parsed = parse_xml(body.as_bytes(), Limits::MESSAGE);
        let verdict = parsed.map(|fields| verify(&fields, &key()));
        match fault {
            "status_5xx" | "html" => assert!(body.starts_with("<html>") && verdict.is_err()),
            "empty" => assert_eq!(body, ""),
            "truncated" => assert!(body.starts_with("<xml>") && verdict.is_err()),
            "bad_signature" => assert_eq!(verdict, Ok(Err(SignatureError::Wrong))),
            _ => assert_eq!(verdict, Ok(Err(SignatureError::Missing))),
        }
    }
    let others = [{ json!({"fault": "other_order"}) }];
    plan(&gateway, json!({"orderquery": others, "unifiedorder": others})).await;
    let found = gateway.query(NO).await;
    assert!(found.get("out_trade_no").is_some_and(|number| number != NO), "well signed");
    let created = gateway.create(with(order(NOWHERE), &[("out_trade_no", "other_1")])).await;
    assert_ne!(created.get("appid"), Some(APPID));
}

#[tokio::test]
async fn strike_only_whom_they_are_meant_for() {
    let gateway = gateway().await;
    let faults = json!({"orderquery": [
        {"fault": "system_error", "times": 2, "out_trade_no": NO},
        {"fault": "frequency_limited", "times": 1, "mch_id": OTHER_MCH_ID},
    ]});
    plan(&gateway, faults).await;
    assert_eq!(gateway.query("another_1").await.get("err_code"), Some("ORDERNOTEXIST"));
    assert_eq!(gateway.query(NO).await.get("err_code"), Some("SYSTEMERROR"));
    let (_, left) = gateway.get("/_sim/faults").await;
    assert_eq!(left["plan"]["orderquery"][0]["times"], 1);
    assert_eq!(gateway.query(NO).await.get("err_code"), Some("SYSTEMERROR"));
    assert_eq!(gateway.query(NO).await.get("err_code"), Some("ORDERNOTEXIST"));
    assert_eq!(gateway.faults().orderquery.len(), 1);
    let deleted = http().delete(format!("{}/_sim/faults", gateway.url()));
    assert_eq!(deleted.send().await.unwrap().status(), 200);
    assert_eq!(gateway.faults(), FaultPlan::default());
}

#[tokio::test]
async fn hold_a_call_until_it_is_released() {
    let gateway = gateway().await;
    for (fault, effect, number) in
        [(Fault::Hold, false, "held_1"), (Fault::HoldAfterCommit, true, "held_2")]
    {
        let unifiedorder = vec![PlannedFault::new(fault, 1)];
        gateway.set_faults(FaultPlan { unifiedorder, ..FaultPlan::default() }).unwrap();
        let call = gateway.create(with(order(NOWHERE), &[("out_trade_no", number)]));
        let release = async {
            until("the call is held", || gateway.held_calls().len() == 1).await;
            let expected = HeldCall {
                api: simulator::Api::Unifiedorder,
                mch_id: Some(MCH_ID.to_owned()),
                out_trade_no: Some(number.to_owned()),
            };
            assert_eq!(gateway.held_calls(), [expected]);
            assert_eq!(gateway.order(MCH_ID, number).is_some(), effect);
            let somebody_else =
                Release { out_trade_no: Some("another_1".to_owned()), ..Release::default() };
            assert_eq!(gateway.release(&somebody_else), 0);
            let (_, answer) =
                gateway.control("/_sim/release", json!({"out_trade_no": number})).await;
            assert_eq!(answer, json!({"released": 1}));
        };
        let (answer, ()) = tokio::join!(call, release);
        assert_eq!(answer.get("result_code"), Some("SUCCESS"));
    }
}

#[tokio::test]
async fn go_on_for_a_caller_that_has_gone() {
    let gateway = gateway().await;
    plan(&gateway, json!({"unifiedorder": [{"fault": "hold"}]})).await;
    let impatient = reqwest::Client::builder();
    let impatient = impatient.timeout(std::time::Duration::from_millis(100)).build().unwrap();
    let body = xml(&signed(order(NOWHERE)));
    let url = format!("{}/pay/unifiedorder", gateway.url());
    let gone = impatient.post(url).body(body).send().await.unwrap_err();
    assert!(gone.is_timeout());
    assert_eq!(gateway.orders().len(), 0);
    until("the call is held", || gateway.held_calls().len() == 1).await;
    assert_eq!(gateway.release(&Release::default()), 1);
    until("the order exists", || gateway.order(MCH_ID, NO).is_some()).await;
}

#[tokio::test]
async fn slow_a_call_down() {
    let gateway = gateway().await;
    plan(&gateway, json!({"orderquery": [{"fault": {"delay_ms": 150}}]})).await;
    let started = std::time::Instant::now();
    gateway.query(NO).await;
    assert!(started.elapsed().as_millis() >= 150);
}

#[tokio::test]
async fn do_not_keep_the_gateway_from_stopping() {
    let gateway = gateway().await;
    let (url, addr) = (gateway.url(), gateway.addr());
    plan(&gateway, json!({"orderquery": [{"fault": "hold"}]})).await;
    let asked = signed(common([("out_trade_no", NO)]));
    let call = http().post(format!("{url}/pay/orderquery")).body(xml(&asked));
    let call = tokio::spawn(call.send());
    until("the call is held", || gateway.held_calls().len() == 1).await;
    gateway.finish().await;
    assert!(call.await.unwrap().is_err(), "the connection was closed");
    assert!(tokio::net::TcpStream::connect(addr).await.is_err());
}
