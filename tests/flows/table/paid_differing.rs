//! A payment that is signed and does not match its order: an exception, and no move in any state.
//! WeChat is asked, and says that there is no such payment.

use harness::eventually;
use simulator::{Api, Fault, PayOptions};
use wechatpay_v2::{Fen, TransactionId};

use super::table_case::{CLOSED, CLOSING, FAILED, PAID, PAYABLE, TableCase, UNKNOWN};

/// What is told of a payment that WeChat has not.
fn differing() -> [(&'static str, PayOptions); 2] {
    let told = |transaction_id: &str| PayOptions {
        notify_only: true,
        transaction_id: Some(TransactionId::parse(transaction_id).unwrap()),
        ..PayOptions::default()
    };
    let amount = told("4200009999202607219999999991");
    let amount = PayOptions { total_fee: Some(Fen::new(1).unwrap()), ..amount };
    let identity = told("4200009999202607219999999992");
    let identity = PayOptions { appid: Some("wx0000000000000000".to_owned()), ..identity };
    [("amount_mismatch", amount), ("identity_mismatch", identity)]
}

/// Waits for the end of a look: WeChat was asked, and nobody calls any more.
async fn is_asked_about(cell: &TableCase, queries: u64) {
    let idle = "call_lease_holder is null";
    eventually("a query", async || {
        let asked = cell.calls().orderquery > queries;
        (asked && cell.world.select_order::<bool>(&cell.number, idle).await).then_some(())
    })
    .await;
}

/// Tells both, and looks at what became of it.
async fn moves_nothing(cell: &TableCase, moves: &[&str], is_asked: bool) {
    let known = cell.known().await;
    let mut kinds = Vec::new();
    for (kind, options) in differing() {
        let transaction_id = options.transaction_id.clone().unwrap();
        let queries = cell.calls().orderquery;
        let body = cell.world.unsent_notification(&cell.shop, &cell.number, options);
        cell.notified(&body, "exception").await;
        if is_asked {
            is_asked_about(cell, queries).await;
        }
        assert_eq!(cell.known().await, known, "nothing changes");
        kinds.push(kind);
        let opened = cell.stands(moves, &kinds).await;
        let exception = &opened.last().unwrap()["exception"];
        assert_eq!(exception["transaction_id"], transaction_id.as_str());
        let field = if kind == "amount_mismatch" { "total_fee" } else { "appid" };
        assert_eq!(exception["differs"][0]["field"], field);
    }
    if !is_asked {
        assert_eq!(cell.calls().orderquery, 0, "what is at its end is asked for no more");
    }
}

#[tokio::test]
async fn differing_payment_leaves_created_order_created() {
    let cell = TableCase::new().await;
    cell.unknown().await;
    // An answer would settle what the first call left open.
    cell.world.inject_fault(Api::Orderquery, &cell.number, Fault::SystemError, 2);
    moves_nothing(&cell, &UNKNOWN, true).await;
    cell.world.finish().await;
}

#[tokio::test]
async fn differing_payment_leaves_payable_order_payable() {
    let cell = TableCase::new().await;
    cell.payable().await;
    moves_nothing(&cell, &PAYABLE, true).await;
    cell.world.finish().await;
}

#[tokio::test]
async fn differing_payment_leaves_closing_order_closing() {
    let cell = TableCase::new().await;
    cell.payable().await;
    cell.closing().await;
    moves_nothing(&cell, &CLOSING, true).await;
    cell.world.finish().await;
}

#[tokio::test]
async fn differing_payment_leaves_closed_order_closed() {
    let cell = TableCase::new().await;
    cell.payable().await;
    cell.closing().await;
    cell.closed().await;
    moves_nothing(&cell, &CLOSED, true).await;
    cell.world.finish().await;
}

#[tokio::test]
async fn differing_payment_leaves_failed_order_failed() {
    let cell = TableCase::new().await;
    cell.failed().await;
    moves_nothing(&cell, &FAILED, false).await;
    cell.world.finish().await;
}

#[tokio::test]
async fn differing_payment_leaves_paid_order_paid() {
    let cell = TableCase::new().await;
    cell.payable().await;
    cell.paid().await;
    moves_nothing(&cell, &PAID, false).await;
    cell.world.finish().await;
}
