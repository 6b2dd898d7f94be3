//! WeChat refuses unifiedorder permanently, in time or late.

use serde_json::json;
use simulator::{Api, Fault};

use super::table_case::{Answer, FAILED, PAYABLE, TableCase};
use super::table_case::{expect_answer, expect_exceptions, expect_refused, permanent_refusal};

/// The outcome of the first call is unknown. `meanwhile` something else happens to the order. Then
/// the second call is refused because WeChat has closed the order.
async fn refuse_late(case: &mut TableCase, meanwhile: impl AsyncFn(&TableCase)) -> Answer {
    let unknown = async |case: &TableCase| case.make_unknown().await;
    let then_closed = async |case: &TableCase| {
        meanwhile(case).await;
        case.set_trade_state("CLOSED");
    };
    let late = case.answer_create_late(Fault::Hold, unknown, then_closed, "ORDERCLOSED");
    let (answer, before) = late.await;
    assert_eq!(case.snapshot().await, before, "nothing changes");
    answer
}

#[tokio::test]
async fn permanent_refusal_fails_created_order() {
    let case = TableCase::new().await;
    case.inject_fault(Api::Unifiedorder, permanent_refusal());
    expect_refused(&case.create().await, "NOAUTH");
    case.expect_order(&FAILED, &[]).await;
    let (_, view) = case.world.get(&case.shop, &case.number).await;
    let failure = json!({"err_code": "NOAUTH", "err_code_des": "商户无此接口权限"});
    assert_eq!(view["failure"], failure);
    // The number is unusable: a repeat of the order gets the same answer without a call.
    expect_refused(&case.create().await, "NOAUTH");
    assert_eq!(case.calls().unifiedorder, 1);
    case.expect_order(&FAILED, &[]).await;
    case.world.finish().await;
}

#[tokio::test]
async fn permanent_refusal_contradicts_payable_order() {
    let case = TableCase::new().await;
    case.make_payable().await;
    case.age_prepay().await;
    let before = case.snapshot().await;
    case.inject_fault(Api::Unifiedorder, permanent_refusal());
    let answer = case.create().await;
    expect_answer(&answer, 200, "payable");
    expect_exceptions(&answer, &["contradiction"]);
    assert_eq!(case.snapshot().await, before, "nothing changes");
    case.expect_contradiction(&PAYABLE, "create_refused").await;
    case.world.finish().await;
}

#[tokio::test]
async fn late_refusal_leaves_closing_order_closing() {
    let mut case = TableCase::new().await;
    let answer = refuse_late(&mut case, async |case| case.make_closing().await).await;
    expect_answer(&answer, 200, "closing");
    expect_exceptions(&answer, &[]);
    case.expect_order(&["created by shop", "closing by shop"], &[]).await;
    case.world.finish().await;
}

#[tokio::test]
async fn late_refusal_leaves_closed_order_closed() {
    let mut case = TableCase::new().await;
    let answer = refuse_late(&mut case, async |case| {
        case.expire_lease().await;
        case.make_closed().await;
    })
    .await;
    expect_answer(&answer, 200, "closed");
    expect_exceptions(&answer, &[]);
    case.expect_order(&["created by shop", "closed by query"], &[]).await;
    case.world.finish().await;
}

#[tokio::test]
async fn late_refusal_keeps_first_reason_of_failed_order() {
    let mut case = TableCase::new().await;
    let answer = refuse_late(&mut case, async |case| {
        case.expire_lease().await;
        case.make_failed().await;
    })
    .await;
    expect_refused(&answer, "NOAUTH");
    case.expect_order(&FAILED, &[]).await;
    case.world.finish().await;
}

#[tokio::test]
async fn late_refusal_leaves_paid_order_paid() {
    let mut case = TableCase::new().await;
    let answer = refuse_late(&mut case, async |case| case.make_paid().await).await;
    expect_answer(&answer, 200, "paid");
    expect_exceptions(&answer, &[]);
    case.expect_order(&["created by shop", "paid by notify"], &[]).await;
    case.world.finish().await;
}
