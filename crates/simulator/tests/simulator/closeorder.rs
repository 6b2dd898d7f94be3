use std::time::Duration;

use simulator::{Config, PayOptions};

use crate::support::*;

#[tokio::test]
async fn closes_once_and_for_ever() {
    let gateway = gateway().await;
    assert_eq!(gateway.close(NO).await.get("err_code"), Some("ORDERNOTEXIST"));
    gateway.create(order(NOWHERE)).await;
    let closed = gateway.close(NO).await;
    assert_eq!(closed.get("result_code"), Some("SUCCESS"));
    assert_eq!(closed.get("result_msg"), Some("OK"));
    assert_eq!(gateway.close(NO).await.get("err_code"), Some("ORDERCLOSED"));
    assert_eq!(gateway.query(NO).await.get("trade_state"), Some("CLOSED"));
    assert!(gateway.order(MCH_ID, NO).unwrap().closed_at.is_some());
}

#[tokio::test]
async fn cannot_close_what_is_paid() {
    let gateway = gateway().await;
    gateway.create(order(NOWHERE)).await;
    let options = PayOptions { state_only: true, ..PayOptions::default() };
    gateway.pay(MCH_ID, NO, &options).unwrap();
    assert_eq!(gateway.close(NO).await.get("err_code"), Some("ORDERPAID"));
    assert_eq!(gateway.query(NO).await.get("trade_state"), Some("SUCCESS"));
}

#[tokio::test]
async fn insists_on_an_age_when_told_to() {
    let config = Config { close_age_min: Duration::from_secs(300), ..config() };
    let gateway = gateway_with(config).await;
    gateway.create(order(NOWHERE)).await;
    assert_eq!(gateway.close(NO).await.get("err_code"), Some("TRADE_STATE_ERROR"));
    assert_eq!(gateway.query(NO).await.get("trade_state"), Some("NOTPAY"));
}
