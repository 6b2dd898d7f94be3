//! WeChat issues a `prepay_id`, in time or late.

use simulator::Fault;

use super::table_case::{Answer, CLOSED, CLOSING, FAILED, PAID, PAYABLE, TableCase, UNKNOWN};
use super::table_case::{expect_answer, expect_exceptions, expect_refused};

/// `meanwhile` something else happens to the order; then the answer to the first call arrives.
async fn issue_late(case: &mut TableCase, meanwhile: impl AsyncFn(&TableCase)) -> Answer {
    let hold = Fault::HoldAfterCommit;
    let detail = "prepay_id issued";
    let (answer, before) = case.answer_create_late(hold, async |_| {}, meanwhile, detail).await;
    assert_eq!(case.snapshot().await, before, "nothing changes");
    answer
}

#[tokio::test]
async fn prepay_makes_created_order_payable() {
    let case = TableCase::new().await;
    case.make_unknown().await;
    case.expect_order(&UNKNOWN, &[]).await;
    expect_answer(&case.create().await, 200, "payable");
    case.expect_order(&PAYABLE, &[]).await;
    case.world.finish().await;
}

#[tokio::test]
async fn newer_prepay_replaces_older_and_moves_nothing() {
    let case = TableCase::new().await;
    let (_, first) = case.create().await;
    case.age_prepay().await;
    let again = case.create().await;
    expect_answer(&again, 200, "payable");
    assert_ne!(again.1["prepay_id"], first["prepay_id"]);
    let package = format!("prepay_id={}", again.1["prepay_id"].as_str().unwrap());
    assert_eq!(again.1["pay"]["package"], package);
    let gateway = case.world.simulator.order(&case.shop.mch_id, &case.number).unwrap();
    assert_eq!(gateway.prepay_ids.len(), 2);
    assert_eq!(again.1["prepay_id"], gateway.prepay_ids[1].as_str());
    let (_, view) = case.world.get(&case.shop, &case.number).await;
    assert_eq!(view["prepay_id"], again.1["prepay_id"], "the last prepay_id is stored");
    case.expect_order(&PAYABLE, &[]).await;

    // The new prepay_id is fresh, so a repeat makes no call.
    let before = case.snapshot().await;
    expect_answer(&case.create().await, 200, "payable");
    assert_eq!(case.snapshot().await, before);
    assert_eq!(case.calls().unifiedorder, 2);
    case.world.finish().await;
}

#[tokio::test]
async fn late_prepay_leaves_closing_order_closing() {
    let mut case = TableCase::new().await;
    let answer = issue_late(&mut case, async |case| case.make_closing().await).await;
    expect_answer(&answer, 200, "closing");
    expect_exceptions(&answer, &[]);
    case.expect_order(&["created by shop", "closing by shop"], &[]).await;
    case.world.finish().await;
}

#[tokio::test]
async fn late_prepay_contradicts_closed_order() {
    let mut case = TableCase::new().await;
    let answer = issue_late(&mut case, async |case| {
        case.expire_lease().await;
        case.make_closed().await;
    })
    .await;
    expect_answer(&answer, 200, "closed");
    expect_exceptions(&answer, &["contradiction"]);
    case.expect_contradiction(&["created by shop", "closed by query"], "prepay_issued").await;
    case.world.finish().await;
}

#[tokio::test]
async fn late_prepay_contradicts_failed_order() {
    let mut case = TableCase::new().await;
    let answer = issue_late(&mut case, async |case| {
        case.expire_lease().await;
        case.make_failed().await;
    })
    .await;
    expect_refused(&answer, "NOAUTH");
    case.expect_contradiction(&FAILED, "prepay_issued").await;
    case.world.finish().await;
}

#[tokio::test]
async fn late_prepay_leaves_paid_order_paid() {
    let mut case = TableCase::new().await;
    let answer = issue_late(&mut case, async |case| case.make_paid().await).await;
    expect_answer(&answer, 200, "paid");
    expect_exceptions(&answer, &[]);
    case.expect_order(&["created by shop", "paid by notify"], &[]).await;
    case.world.finish().await;
}

/// A create makes no call when the order is known and not payable.
#[tokio::test]
async fn order_no_longer_payable_gets_no_new_prepay() {
    let case = TableCase::new().await;
    case.make_payable().await;
    case.make_closing().await;
    expect_answer(&case.create().await, 200, "closing");
    case.expect_order(&CLOSING, &[]).await;
    case.make_closed().await;
    expect_answer(&case.create().await, 200, "closed");
    case.expect_order(&CLOSED, &[]).await;
    assert_eq!(case.calls().unifiedorder, 1);
    case.world.finish().await;

    let case = TableCase::new().await;
    case.make_payable().await;
    case.make_paid().await;
    expect_answer(&case.create().await, 200, "paid");
    case.expect_order(&PAID, &[]).await;
    assert_eq!(case.calls().unifiedorder, 1);
    case.world.finish().await;
}

/// The late answer of a call with an expired lease, after the answer of another call.
#[tokio::test]
async fn last_issued_prepay_survives_older_answer() {
    let mut case = TableCase::new().await;
    let late = case.answer_create_late(
        Fault::HoldAfterCommit,
        async |_| {},
        async |case| {
            case.expire_lease().await;
            case.make_payable().await;
        },
        "prepay_id issued",
    );
    let (answer, before) = late.await;
    expect_answer(&answer, 200, "payable");
    assert_eq!(case.snapshot().await, before, "the prepay_id issued last is stored");
    case.world.finish().await;
}
