//! A notification of a payment that matches its order.

use harness::{Shop, eventually};
use serde_json::Value;
use simulator::PayOptions;

use super::table_case::{CLOSED, CLOSING, FAILED, PAID, PAYABLE, TableCase, UNKNOWN};

const LATE: [&str; 1] = ["late_payment"];

/// These transitions and the one to paid.
fn then_paid<'a>(moves: &[&'a str]) -> Vec<&'a str> {
    moves.iter().copied().chain(["paid by notify"]).collect()
}

/// Expects that the order is paid by WeChat's first payment.
async fn expect_paid_once(case: &TableCase) {
    let (_, view) = case.world.get(&case.shop, &case.number).await;
    let gateway = case.world.simulator.order(&case.shop.mch_id, &case.number).unwrap();
    assert_eq!(view["transaction_id"], gateway.payments[0].transaction_id.as_str());
    assert_eq!((&view["total_fee"], &view["cash_fee"]), (&Value::from(9900), &Value::from(9900)));
}

/// Expects that the exception names the order's state before the payment and the payment's time.
fn expect_late_payment(case: &TableCase, opened: &[Value], state: &str) {
    let exception = &opened[0]["exception"];
    let gateway = case.world.simulator.order(&case.shop.mch_id, &case.number).unwrap();
    assert_eq!(exception["transaction_id"], gateway.payments[0].transaction_id.as_str());
    let differs = exception["differs"].as_array().unwrap();
    assert_eq!((&differs[0]["ours"], &differs[0]["theirs"]), (&state.into(), &"paid".into()));
    assert_eq!(differs[1]["field"], "time_end");
}

/// Waits until a new payment is surely later than the decision to close: WeChat's times have whole
/// seconds.
async fn wait_for_next_second(case: &TableCase) {
    let over = "select date_trunc('second', now()) > closing_since from orders
        where out_trade_no = $1";
    eventually("the next second", async || {
        let over = sqlx::query_scalar::<_, bool>(over).bind(&case.number);
        over.fetch_one(&case.world.environment.pool).await.unwrap().then_some(())
    })
    .await;
}

#[tokio::test]
async fn payment_makes_created_order_paid() {
    let case = TableCase::new().await;
    case.make_unknown().await;
    case.make_paid().await;
    case.expect_order(&then_paid(&UNKNOWN), &[]).await;
    expect_paid_once(&case).await;
    case.world.finish().await;
}

#[tokio::test]
async fn payment_makes_payable_order_paid() {
    let case = TableCase::new().await;
    case.make_payable().await;
    case.make_paid().await;
    case.expect_order(&then_paid(&PAYABLE), &[]).await;
    expect_paid_once(&case).await;
    case.world.finish().await;
}

#[tokio::test]
async fn payment_before_close_makes_closing_order_paid() {
    let case = TableCase::new().await;
    case.make_payable().await;
    let body = case.world.unsent_notification(&case.shop, &case.number, PayOptions::default());
    case.make_closing().await;
    case.notify_and_expect(&body, "applied").await;
    case.expect_order(&then_paid(&CLOSING), &[]).await;
    expect_paid_once(&case).await;
    case.world.finish().await;
}

#[tokio::test]
async fn payment_after_close_decision_is_paid_and_late() {
    let case = TableCase::new().await;
    case.make_payable().await;
    case.make_closing().await;
    wait_for_next_second(&case).await;
    case.make_paid().await;
    let opened = case.expect_order(&then_paid(&CLOSING), &LATE).await;
    expect_late_payment(&case, &opened, "closing");
    expect_paid_once(&case).await;
    case.world.finish().await;
}

#[tokio::test]
async fn payment_of_closed_order_is_paid_and_late() {
    let case = TableCase::new().await;
    case.make_payable().await;
    case.make_closing().await;
    case.make_closed().await;
    case.make_paid().await;
    let opened = case.expect_order(&then_paid(&CLOSED), &LATE).await;
    expect_late_payment(&case, &opened, "closed");
    expect_paid_once(&case).await;
    case.world.finish().await;
}

#[tokio::test]
async fn payment_of_closed_order_found_by_query_is_late() {
    let case = TableCase::new().await;
    case.make_payable().await;
    case.make_closing().await;
    case.make_closed().await;
    let unnotified = PayOptions { force: true, state_only: true, ..PayOptions::default() };
    case.world.pay(&case.shop, &case.number, &unnotified);
    case.check().await;
    let moves = [&CLOSED[..], &["paid by query"]].concat();
    let opened = case.expect_order(&moves, &LATE).await;
    expect_late_payment(&case, &opened, "closed");
    expect_paid_once(&case).await;
    case.world.finish().await;
}

#[tokio::test]
async fn payment_of_failed_order_is_paid_and_late() {
    let case = TableCase::new().await;
    case.make_unknown().await;
    case.make_failed().await;
    case.make_paid().await;
    let opened = case.expect_order(&then_paid(&FAILED), &LATE).await;
    expect_late_payment(&case, &opened, "failed");
    expect_paid_once(&case).await;
    case.world.finish().await;
}

#[tokio::test]
async fn same_payment_leaves_paid_order_unchanged() {
    let case = TableCase::new().await;
    case.make_payable().await;
    case.make_paid().await;
    let before = case.snapshot().await;
    let again = PayOptions { notify_only: true, ..PayOptions::default() };
    let body = case.world.unsent_notification(&case.shop, &case.number, again);
    case.notify_and_expect(&body, "already").await;
    assert_eq!(case.snapshot().await, before, "nothing changes");
    case.expect_order(&PAID, &[]).await;
    expect_paid_once(&case).await;
    case.world.finish().await;
}

#[tokio::test]
async fn second_payment_of_paid_order_is_duplicate() {
    let case = TableCase::new().await;
    case.make_payable().await;
    case.make_paid().await;
    let before = case.snapshot().await;
    let second = PayOptions { second_payment: true, ..PayOptions::default() };
    let body = case.world.unsent_notification(&case.shop, &case.number, second);
    case.notify_and_expect(&body, "exception").await;
    assert_eq!(case.snapshot().await, before, "nothing changes");
    let opened = case.expect_order(&PAID, &["duplicate_payment"]).await;
    expect_paid_once(&case).await;

    let gateway = case.world.simulator.order(&case.shop.mch_id, &case.number).unwrap();
    let [first, second] = [0, 1].map(|it| gateway.payments[it].transaction_id.as_str());
    let exception = &opened[0]["exception"];
    assert_eq!(exception["transaction_id"], second);
    let differs = &exception["differs"][0];
    assert_eq!((&differs["ours"], &differs["theirs"]), (&first.into(), &second.into()));
    case.world.finish().await;
}

/// A transaction settles one order only.
#[tokio::test]
async fn two_orders_are_paid_by_their_own_payments() {
    let mut case = TableCase::new().await;
    case.make_payable().await;
    case.make_paid().await;
    case.expect_order(&PAID, &[]).await;
    case.number = Shop::number();
    case.make_payable().await;
    case.expect_order(&PAYABLE, &[]).await;
    case.make_paid().await;
    case.expect_order(&PAID, &[]).await;
    expect_paid_once(&case).await;
    case.world.finish().await;
}
