//! A signed payment that does not match its order: an exception, and no transition in any state.
//! WeChat is queried and does not know the payment.

use harness::eventually;
use simulator::{Api, Fault, PayOptions};
use wechatpay_v2::{Fen, TransactionId};

use super::table_case::{CLOSED, CLOSING, FAILED, PAID, PAYABLE, TableCase, UNKNOWN};

/// Notifications of payments that WeChat does not know, with the expected exception.
fn differing_payments() -> [(&'static str, PayOptions); 2] {
    let unknown = |transaction_id: &str| PayOptions {
        notify_only: true,
        transaction_id: Some(TransactionId::parse(transaction_id).unwrap()),
        ..PayOptions::default()
    };
    let amount = unknown("4200009999202607219999999991");
    let amount = PayOptions { total_fee: Some(Fen::new(1).unwrap()), ..amount };
    let identity = unknown("4200009999202607219999999992");
    let identity = PayOptions { appid: Some("wx0000000000000000".to_owned()), ..identity };
    [("amount_mismatch", amount), ("identity_mismatch", identity)]
}

/// Waits until WeChat was queried and the call's lease is released.
async fn wait_for_query(case: &TableCase, queries: u64) {
    let idle = "call_lease_holder is null";
    eventually("a query", async || {
        let queried = case.calls().orderquery > queries;
        (queried && case.world.select_order::<bool>(&case.number, idle).await).then_some(())
    })
    .await;
}

/// Sends both notifications and expects exceptions without a transition.
async fn expect_no_transition(case: &TableCase, moves: &[&str], is_queried: bool) {
    let before = case.snapshot().await;
    let mut kinds = Vec::new();
    for (kind, options) in differing_payments() {
        let transaction_id = options.transaction_id.clone().unwrap();
        let queries = case.calls().orderquery;
        let body = case.world.unsent_notification(&case.shop, &case.number, options);
        case.notify_and_expect(&body, "exception").await;
        if is_queried {
            wait_for_query(case, queries).await;
        }
        assert_eq!(case.snapshot().await, before, "nothing changes");
        kinds.push(kind);
        let opened = case.expect_order(moves, &kinds).await;
        let exception = &opened.last().unwrap()["exception"];
        assert_eq!(exception["transaction_id"], transaction_id.as_str());
        let field = if kind == "amount_mismatch" { "total_fee" } else { "appid" };
        assert_eq!(exception["differs"][0]["field"], field);
    }
    if !is_queried {
        assert_eq!(case.calls().orderquery, 0, "an order in a final state is not queried");
    }
}

#[tokio::test]
async fn differing_payment_leaves_created_order_created() {
    let case = TableCase::new().await;
    case.make_unknown().await;
    // An answer to the query would settle the unknown outcome of the first call.
    case.world.inject_fault(Api::Orderquery, &case.number, Fault::SystemError, 2);
    expect_no_transition(&case, &UNKNOWN, true).await;
    case.world.finish().await;
}

#[tokio::test]
async fn differing_payment_leaves_payable_order_payable() {
    let case = TableCase::new().await;
    case.make_payable().await;
    expect_no_transition(&case, &PAYABLE, true).await;
    case.world.finish().await;
}

#[tokio::test]
async fn differing_payment_leaves_closing_order_closing() {
    let case = TableCase::new().await;
    case.make_payable().await;
    case.make_closing().await;
    expect_no_transition(&case, &CLOSING, true).await;
    case.world.finish().await;
}

#[tokio::test]
async fn differing_payment_leaves_closed_order_closed() {
    let case = TableCase::new().await;
    case.make_payable().await;
    case.make_closing().await;
    case.make_closed().await;
    expect_no_transition(&case, &CLOSED, true).await;
    case.world.finish().await;
}

#[tokio::test]
async fn differing_payment_leaves_failed_order_failed() {
    let case = TableCase::new().await;
    case.make_failed().await;
    expect_no_transition(&case, &FAILED, false).await;
    case.world.finish().await;
}

#[tokio::test]
async fn differing_payment_leaves_paid_order_paid() {
    let case = TableCase::new().await;
    case.make_payable().await;
    case.make_paid().await;
    expect_no_transition(&case, &PAID, false).await;
    case.world.finish().await;
}
