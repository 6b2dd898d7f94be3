use std::time::Duration;

use simulator::{Config, PayOptions};

use crate::support::*;

#[tokio::test]
async fn closeorder_closes_an_order_once() {
    let gateway = gateway().await;
    assert_eq!(gateway.close(ORDER_NO).await.get("err_code"), Some("ORDERNOTEXIST"));
    gateway.create(order(NO_ENDPOINT)).await;
    let closed = gateway.close(ORDER_NO).await;
    assert_eq!(closed.get("result_code"), Some("SUCCESS"));
    assert_eq!(closed.get("result_msg"), Some("OK"));
    assert_eq!(gateway.close(ORDER_NO).await.get("err_code"), Some("ORDERCLOSED"));
    assert_eq!(gateway.query(ORDER_NO).await.get("trade_state"), Some("CLOSED"));
    assert!(gateway.order(MCH_ID, ORDER_NO).unwrap().closed_at.is_some());
}

#[tokio::test]
async fn closeorder_of_a_paid_order_is_refused() {
    let gateway = gateway().await;
    gateway.create(order(NO_ENDPOINT)).await;
    let options = PayOptions { state_only: true, ..PayOptions::default() };
    gateway.pay(MCH_ID, ORDER_NO, &options).unwrap();
    assert_eq!(gateway.close(ORDER_NO).await.get("err_code"), Some("ORDERPAID"));
    assert_eq!(gateway.query(ORDER_NO).await.get("trade_state"), Some("SUCCESS"));
}

#[tokio::test]
async fn closeorder_of_a_too_young_order_is_refused() {
    let config = Config { close_age_min: Duration::from_secs(300), ..config() };
    let gateway = gateway_with(config).await;
    gateway.create(order(NO_ENDPOINT)).await;
    assert_eq!(gateway.close(ORDER_NO).await.get("err_code"), Some("TRADE_STATE_ERROR"));
    assert_eq!(gateway.query(ORDER_NO).await.get("trade_state"), Some("NOTPAY"));
}
