//! A payment that matches its order, told by WeChat in a notification.

use harness::{Shop, eventually};
use serde_json::Value;
use simulator::PayOptions;

use super::table_case::{CLOSED, CLOSING, FAILED, PAID, PAYABLE, TableCase, UNKNOWN};

const LATE: [&str; 1] = ["late_payment"];

/// These moves, and then it is paid.
fn then_paid<'a>(moves: &[&'a str]) -> Vec<&'a str> {
    moves.iter().copied().chain(["paid by notify"]).collect()
}

/// It is paid once, by the one payment that WeChat has.
async fn paid_once(cell: &TableCase) {
    let (_, view) = cell.world.get(&cell.shop, &cell.number).await;
    let gateway = cell.world.simulator.order(&cell.shop.mch_id, &cell.number).unwrap();
    assert_eq!(view["transaction_id"], gateway.payments[0].transaction_id.as_str());
    assert_eq!((&view["total_fee"], &view["cash_fee"]), (&Value::from(9900), &Value::from(9900)));
}

/// The exception says from where it was paid, and when.
fn is_late(cell: &TableCase, opened: &[Value], state: &str) {
    let exception = &opened[0]["exception"];
    let gateway = cell.world.simulator.order(&cell.shop.mch_id, &cell.number).unwrap();
    assert_eq!(exception["transaction_id"], gateway.payments[0].transaction_id.as_str());
    let differs = exception["differs"].as_array().unwrap();
    assert_eq!((&differs[0]["ours"], &differs[0]["theirs"]), (&state.into(), &"paid".into()));
    assert_eq!(differs[1]["field"], "time_end");
}

/// Waits until a payment that is made now is surely younger than the decision to close: WeChat
/// tells whole seconds.
async fn the_second_is_over(cell: &TableCase) {
    let over = "select date_trunc('second', now()) > closing_since from orders
        where out_trade_no = $1";
    eventually("the next second", async || {
        let over = sqlx::query_scalar::<_, bool>(over).bind(&cell.number);
        over.fetch_one(&cell.world.environment.pool).await.unwrap().then_some(())
    })
    .await;
}

#[tokio::test]
async fn payment_makes_created_order_paid() {
    let cell = TableCase::new().await;
    cell.unknown().await;
    cell.paid().await;
    cell.stands(&then_paid(&UNKNOWN), &[]).await;
    paid_once(&cell).await;
    cell.world.finish().await;
}

#[tokio::test]
async fn payment_makes_payable_order_paid() {
    let cell = TableCase::new().await;
    cell.payable().await;
    cell.paid().await;
    cell.stands(&then_paid(&PAYABLE), &[]).await;
    paid_once(&cell).await;
    cell.world.finish().await;
}

#[tokio::test]
async fn payment_before_close_makes_closing_order_paid() {
    let cell = TableCase::new().await;
    cell.payable().await;
    let body = cell.world.unsent_notification(&cell.shop, &cell.number, PayOptions::default());
    cell.closing().await;
    cell.notified(&body, "applied").await;
    cell.stands(&then_paid(&CLOSING), &[]).await;
    paid_once(&cell).await;
    cell.world.finish().await;
}

#[tokio::test]
async fn payment_after_close_decision_is_paid_and_late() {
    let cell = TableCase::new().await;
    cell.payable().await;
    cell.closing().await;
    the_second_is_over(&cell).await;
    cell.paid().await;
    let opened = cell.stands(&then_paid(&CLOSING), &LATE).await;
    is_late(&cell, &opened, "closing");
    paid_once(&cell).await;
    cell.world.finish().await;
}

#[tokio::test]
async fn payment_of_closed_order_is_paid_and_late() {
    let cell = TableCase::new().await;
    cell.payable().await;
    cell.closing().await;
    cell.closed().await;
    cell.paid().await;
    let opened = cell.stands(&then_paid(&CLOSED), &LATE).await;
    is_late(&cell, &opened, "closed");
    paid_once(&cell).await;
    cell.world.finish().await;
}

#[tokio::test]
async fn payment_of_closed_order_found_by_query_is_late() {
    let cell = TableCase::new().await;
    cell.payable().await;
    cell.closing().await;
    cell.closed().await;
    let unsaid = PayOptions { force: true, state_only: true, ..PayOptions::default() };
    cell.world.pay(&cell.shop, &cell.number, &unsaid);
    cell.look().await;
    let moves = [&CLOSED[..], &["paid by query"]].concat();
    let opened = cell.stands(&moves, &LATE).await;
    is_late(&cell, &opened, "closed");
    paid_once(&cell).await;
    cell.world.finish().await;
}

#[tokio::test]
async fn payment_of_failed_order_is_paid_and_late() {
    let cell = TableCase::new().await;
    cell.unknown().await;
    cell.failed().await;
    cell.paid().await;
    let opened = cell.stands(&then_paid(&FAILED), &LATE).await;
    is_late(&cell, &opened, "failed");
    paid_once(&cell).await;
    cell.world.finish().await;
}

#[tokio::test]
async fn same_payment_leaves_paid_order_unchanged() {
    let cell = TableCase::new().await;
    cell.payable().await;
    cell.paid().await;
    let known = cell.known().await;
    let again = PayOptions { notify_only: true, ..PayOptions::default() };
    let body = cell.world.unsent_notification(&cell.shop, &cell.number, again);
    cell.notified(&body, "already").await;
    assert_eq!(cell.known().await, known, "nothing changes");
    cell.stands(&PAID, &[]).await;
    paid_once(&cell).await;
    cell.world.finish().await;
}

#[tokio::test]
async fn second_payment_of_paid_order_is_duplicate() {
    let cell = TableCase::new().await;
    cell.payable().await;
    cell.paid().await;
    let known = cell.known().await;
    let second = PayOptions { second_payment: true, ..PayOptions::default() };
    let body = cell.world.unsent_notification(&cell.shop, &cell.number, second);
    cell.notified(&body, "exception").await;
    assert_eq!(cell.known().await, known, "nothing changes");
    let opened = cell.stands(&PAID, &["duplicate_payment"]).await;
    paid_once(&cell).await;

    let gateway = cell.world.simulator.order(&cell.shop.mch_id, &cell.number).unwrap();
    let [first, second] = [0, 1].map(|it| gateway.payments[it].transaction_id.as_str());
    let exception = &opened[0]["exception"];
    assert_eq!(exception["transaction_id"], second);
    let differs = &exception["differs"][0];
    assert_eq!((&differs["ours"], &differs["theirs"]), (&first.into(), &second.into()));
    cell.world.finish().await;
}

/// A transaction settles one order, and what is left over is no other order's.
#[tokio::test]
async fn two_orders_are_paid_by_their_own_payments() {
    let mut cell = TableCase::new().await;
    cell.payable().await;
    cell.paid().await;
    cell.stands(&PAID, &[]).await;
    cell.number = Shop::number();
    cell.payable().await;
    cell.stands(&PAYABLE, &[]).await;
    cell.paid().await;
    cell.stands(&PAID, &[]).await;
    paid_once(&cell).await;
    cell.world.finish().await;
}
