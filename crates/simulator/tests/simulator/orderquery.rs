use serde_json::json;
use simulator::PayOptions;
use wechatpay_v2::{Fields, Payment};

use crate::support::*;

fn without_notification() -> PayOptions {
    PayOptions { state_only: true, ..PayOptions::default() }
}

#[tokio::test]
async fn orderquery_finds_only_the_callers_orders() {
    let gateway = gateway().await;
    assert_eq!(gateway.query(ORDER_NO).await.get("err_code"), Some("ORDERNOTEXIST"));
    let answer = gateway.call("/pay/orderquery", common([])).await;
    assert_eq!(answer.get("return_msg"), Some("缺少参数out_trade_no"));
    let provider = [("sub_mch_id", "1699000102")];
    gateway.create(with(order(NO_ENDPOINT), &provider)).await;
    assert_eq!(gateway.query(ORDER_NO).await.get("err_code"), Some("ORDERNOTEXIST"));
    let fields = common([("out_trade_no", ORDER_NO), provider[0]]);
    let found = gateway.call("/pay/orderquery", fields).await;
    assert_eq!(found.get("trade_state"), Some("NOTPAY"));
    assert_eq!(found.get("sub_mch_id"), Some("1699000102"));
}

#[tokio::test]
async fn orderquery_of_an_unpaid_order_has_few_elements() {
    let gateway = gateway().await;
    gateway.create(order(NO_ENDPOINT)).await;
    for trade_state in
        ["NOTPAY", "CLOSED", "REVOKED", "USERPAYING", "PAYERROR", "ACCEPT", "SOMETHING_NEW"]
    {
        let path = format!("/_sim/state/{MCH_ID}/{ORDER_NO}");
        let (status, _) = gateway.control(&path, json!({"trade_state": trade_state})).await;
        assert_eq!(status, 200);
        let found = gateway.query(ORDER_NO).await;
        assert_eq!(found.get("trade_state"), Some(trade_state));
        assert!(found.get("trade_state_desc").is_some());
        assert_eq!(found.get("out_trade_no"), Some(ORDER_NO));
        for name in ["transaction_id", "time_end", "openid", "bank_type", "cash_fee"] {
            assert!(!found.contains(name), "{trade_state}: {name}");
        }
        let total_fee = (trade_state != "USERPAYING").then_some("9900");
        assert_eq!(found.get("total_fee"), total_fee, "{trade_state}");
        let empty = |fields: &Fields, name| fields.contains(name) && fields.get(name).is_none();
        assert_eq!(empty(&found, "attach"), trade_state == "CLOSED");
        let bare = ["CLOSED", "USERPAYING", "ACCEPT"].contains(&trade_state);
        assert_eq!(empty(&found, "device_info"), !bare, "{trade_state}");
    }
}

#[tokio::test]
async fn orderquery_of_a_paid_order_has_all_elements() {
    let gateway = gateway().await;
    gateway.create(order(NO_ENDPOINT)).await;
    let coupons = json!({
        "state_only": true,
        "coupons": [{"coupon_id": "30000000002", "coupon_type": "NO_CASH", "coupon_fee": 300}],
    });
    let (status, paid) = gateway.control(&format!("/_sim/pay/{MCH_ID}/{ORDER_NO}"), coupons).await;
    assert_eq!(status, 200, "{paid}");
    let transaction_id = paid["transaction_id"].as_str().unwrap();
    assert!(transaction_id.starts_with("42000") && transaction_id.len() == 28);
    let fields = common([("transaction_id", transaction_id)]);
    let by_transaction_id = gateway.call("/pay/orderquery", fields).await;
    for found in [gateway.query(ORDER_NO).await, by_transaction_id] {
        assert_eq!(found.get("trade_state"), Some("SUCCESS"));
        let payment = Payment::from_fields(&found).unwrap();
        assert_eq!(payment.transaction_id.as_str(), transaction_id);
        assert_eq!(payment.time_end.to_string(), paid["time_end"]);
        assert_eq!(payment.openid.unwrap().as_str(), OPENID);
        assert_eq!(payment.total_fee.get(), 9900);
        assert_eq!(payment.cash_fee.unwrap().get(), 9600);
        assert_eq!(payment.settlement_total_fee.unwrap().get(), 9600);
        assert_eq!(payment.coupons.len(), 1);
        assert_eq!(payment.attach.as_deref(), Some("shop=7;src=mini"));
    }
    gateway.set_state(MCH_ID, ORDER_NO, "REFUND").unwrap();
    let refunded = gateway.query(ORDER_NO).await;
    assert_eq!(refunded.get("trade_state"), Some("REFUND"));
    assert_eq!(refunded.get("transaction_id"), Some(transaction_id));
}

#[tokio::test]
async fn orderquery_finds_each_payment_by_transaction_id() {
    let gateway = gateway().await;
    gateway.create(order(NO_ENDPOINT)).await;
    let first = gateway.pay(MCH_ID, ORDER_NO, &without_notification()).unwrap();
    let second = PayOptions { second_payment: true, ..without_notification() };
    let second = gateway.pay(MCH_ID, ORDER_NO, &second).unwrap();
    for paid in [&first, &second] {
        let fields = common([("transaction_id", paid.transaction_id.as_str())]);
        let found = gateway.call("/pay/orderquery", fields).await;
        assert_eq!(found.get("transaction_id"), Some(paid.transaction_id.as_str()));
    }
    let found = gateway.query(ORDER_NO).await;
    assert_eq!(found.get("transaction_id"), Some(first.transaction_id.as_str()));
}
