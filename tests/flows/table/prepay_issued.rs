//! WeChat issued a `prepay_id`, in time or late.

use simulator::Fault;

use super::table_case::{Answer, CLOSED, CLOSING, FAILED, PAID, PAYABLE, TableCase, UNKNOWN};
use super::table_case::{answered, refused, shows};

/// The answer to the first call comes when something else has happened to the order.
async fn issued_late(cell: &mut TableCase, meanwhile: impl AsyncFn(&TableCase)) -> Answer {
    let hold = Fault::HoldAfterCommit;
    let detail = "prepay_id issued";
    let (answer, known) = cell.answered_late(hold, async |_| {}, meanwhile, detail).await;
    assert_eq!(cell.known().await, known, "nothing changes");
    answer
}

#[tokio::test]
async fn prepay_makes_created_order_payable() {
    let cell = TableCase::new().await;
    cell.unknown().await;
    cell.stands(&UNKNOWN, &[]).await;
    answered(&cell.create().await, 200, "payable");
    cell.stands(&PAYABLE, &[]).await;
    cell.world.finish().await;
}

#[tokio::test]
async fn newer_prepay_replaces_older_and_moves_nothing() {
    let cell = TableCase::new().await;
    let (_, first) = cell.create().await;
    cell.prepay_ages().await;
    let again = cell.create().await;
    answered(&again, 200, "payable");
    assert_ne!(again.1["prepay_id"], first["prepay_id"]);
    let package = format!("prepay_id={}", again.1["prepay_id"].as_str().unwrap());
    assert_eq!(again.1["pay"]["package"], package);
    let gateway = cell.world.simulator.order(&cell.shop.mch_id, &cell.number).unwrap();
    assert_eq!(gateway.prepay_ids.len(), 2);
    assert_eq!(again.1["prepay_id"], gateway.prepay_ids[1].as_str());
    let (_, view) = cell.world.get(&cell.shop, &cell.number).await;
    assert_eq!(view["prepay_id"], again.1["prepay_id"], "the last one is kept");
    cell.stands(&PAYABLE, &[]).await;

    // The new one is fresh.
    let known = cell.known().await;
    answered(&cell.create().await, 200, "payable");
    assert_eq!(cell.known().await, known);
    assert_eq!(cell.calls().unifiedorder, 2);
    cell.world.finish().await;
}

#[tokio::test]
async fn late_prepay_leaves_closing_order_closing() {
    let mut cell = TableCase::new().await;
    let answer = issued_late(&mut cell, async |cell| cell.closing().await).await;
    answered(&answer, 200, "closing");
    shows(&answer, &[]);
    cell.stands(&["created by shop", "closing by shop"], &[]).await;
    cell.world.finish().await;
}

#[tokio::test]
async fn late_prepay_contradicts_closed_order() {
    let mut cell = TableCase::new().await;
    let answer = issued_late(&mut cell, async |cell| {
        cell.lease_ends().await;
        cell.closed().await;
    })
    .await;
    answered(&answer, 200, "closed");
    shows(&answer, &["contradiction"]);
    cell.contradicts(&["created by shop", "closed by query"], "prepay_issued").await;
    cell.world.finish().await;
}

#[tokio::test]
async fn late_prepay_contradicts_failed_order() {
    let mut cell = TableCase::new().await;
    let answer = issued_late(&mut cell, async |cell| {
        cell.lease_ends().await;
        cell.failed().await;
    })
    .await;
    refused(&answer, "NOAUTH");
    cell.contradicts(&FAILED, "prepay_issued").await;
    cell.world.finish().await;
}

#[tokio::test]
async fn late_prepay_leaves_paid_order_paid() {
    let mut cell = TableCase::new().await;
    let answer = issued_late(&mut cell, async |cell| cell.paid().await).await;
    answered(&answer, 200, "paid");
    shows(&answer, &[]);
    cell.stands(&["created by shop", "paid by notify"], &[]).await;
    cell.world.finish().await;
}

/// Once it is known, a create asks WeChat no more, wherever the order stands.
#[tokio::test]
async fn order_no_longer_payable_gets_no_new_prepay() {
    let cell = TableCase::new().await;
    cell.payable().await;
    cell.closing().await;
    answered(&cell.create().await, 200, "closing");
    cell.stands(&CLOSING, &[]).await;
    cell.closed().await;
    answered(&cell.create().await, 200, "closed");
    cell.stands(&CLOSED, &[]).await;
    assert_eq!(cell.calls().unifiedorder, 1);
    cell.world.finish().await;

    let cell = TableCase::new().await;
    cell.payable().await;
    cell.paid().await;
    answered(&cell.create().await, 200, "paid");
    cell.stands(&PAID, &[]).await;
    assert_eq!(cell.calls().unifiedorder, 1);
    cell.world.finish().await;
}

/// The answer of a call whose lease had ended, and after which another call was answered.
#[tokio::test]
async fn last_issued_prepay_survives_older_answer() {
    let mut cell = TableCase::new().await;
    let late = cell.answered_late(
        Fault::HoldAfterCommit,
        async |_| {},
        async |cell| {
            cell.lease_ends().await;
            cell.payable().await;
        },
        "prepay_id issued",
    );
    let (answer, known) = late.await;
    answered(&answer, 200, "payable");
    assert_eq!(cell.known().await, known, "the one issued last is kept");
    cell.world.finish().await;
}
