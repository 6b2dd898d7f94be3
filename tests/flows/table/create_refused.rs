//! WeChat refuses the call for good, in time or late.

use serde_json::json;
use simulator::{Api, Fault};

use super::table_case::{Answer, FAILED, PAYABLE, TableCase};
use super::table_case::{answered, refused, refused_for_good, shows};

/// The outcome of the first call is unknown; the second one finds, when something else has
/// happened to the order, that WeChat has closed it.
async fn refused_late(cell: &mut TableCase, meanwhile: impl AsyncFn(&TableCase)) -> Answer {
    let unknown = async |cell: &TableCase| cell.unknown().await;
    let then_closed = async |cell: &TableCase| {
        meanwhile(cell).await;
        cell.wechat_says("CLOSED");
    };
    let late = cell.answered_late(Fault::Hold, unknown, then_closed, "ORDERCLOSED");
    let (answer, known) = late.await;
    assert_eq!(cell.known().await, known, "nothing changes");
    answer
}

#[tokio::test]
async fn permanent_refusal_fails_created_order() {
    let cell = TableCase::new().await;
    cell.inject_fault(Api::Unifiedorder, refused_for_good());
    refused(&cell.create().await, "NOAUTH");
    cell.stands(&FAILED, &[]).await;
    let (_, view) = cell.world.get(&cell.shop, &cell.number).await;
    let failure = json!({"err_code": "NOAUTH", "err_code_des": "商户无此接口权限"});
    assert_eq!(view["failure"], failure);
    // The number is dead: the same order again is answered with the same, and nobody is called.
    refused(&cell.create().await, "NOAUTH");
    assert_eq!(cell.calls().unifiedorder, 1);
    cell.stands(&FAILED, &[]).await;
    cell.world.finish().await;
}

#[tokio::test]
async fn permanent_refusal_contradicts_payable_order() {
    let cell = TableCase::new().await;
    cell.payable().await;
    cell.prepay_ages().await;
    let known = cell.known().await;
    cell.inject_fault(Api::Unifiedorder, refused_for_good());
    let answer = cell.create().await;
    answered(&answer, 200, "payable");
    shows(&answer, &["contradiction"]);
    assert_eq!(cell.known().await, known, "nothing changes");
    cell.contradicts(&PAYABLE, "create_refused").await;
    cell.world.finish().await;
}

#[tokio::test]
async fn late_refusal_leaves_closing_order_closing() {
    let mut cell = TableCase::new().await;
    let answer = refused_late(&mut cell, async |cell| cell.closing().await).await;
    answered(&answer, 200, "closing");
    shows(&answer, &[]);
    cell.stands(&["created by shop", "closing by shop"], &[]).await;
    cell.world.finish().await;
}

#[tokio::test]
async fn late_refusal_leaves_closed_order_closed() {
    let mut cell = TableCase::new().await;
    let answer = refused_late(&mut cell, async |cell| {
        cell.lease_ends().await;
        cell.closed().await;
    })
    .await;
    answered(&answer, 200, "closed");
    shows(&answer, &[]);
    cell.stands(&["created by shop", "closed by query"], &[]).await;
    cell.world.finish().await;
}

#[tokio::test]
async fn late_refusal_keeps_first_reason_of_failed_order() {
    let mut cell = TableCase::new().await;
    let answer = refused_late(&mut cell, async |cell| {
        cell.lease_ends().await;
        cell.failed().await;
    })
    .await;
    refused(&answer, "NOAUTH");
    cell.stands(&FAILED, &[]).await;
    cell.world.finish().await;
}

#[tokio::test]
async fn late_refusal_leaves_paid_order_paid() {
    let mut cell = TableCase::new().await;
    let answer = refused_late(&mut cell, async |cell| cell.paid().await).await;
    answered(&answer, 200, "paid");
    shows(&answer, &[]);
    cell.stands(&["created by shop", "paid by notify"], &[]).await;
    cell.world.finish().await;
}
