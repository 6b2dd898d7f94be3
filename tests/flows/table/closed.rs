//! WeChat has closed it: a closeorder or a query says so.

use simulator::{Api, Fault};

use super::table_case::{CLOSED, CLOSING, FAILED, PAID, PAYABLE, TableCase, UNKNOWN};
use super::table_case::{refused, refused_for_good};

const CLOSED_BY_REPLY: [&str; 4] =
    ["created by shop", "payable by reply", "closing by shop", "closed by reply"];

#[tokio::test]
async fn created_order_closed_by_wechat_is_closed() {
    let cell = TableCase::new().await;
    cell.unknown().await;
    cell.closed().await;
    cell.stands(&[UNKNOWN[0], "closed by query"], &[]).await;
    cell.world.finish().await;
}

#[tokio::test]
async fn payable_order_closed_by_wechat_is_closed() {
    let cell = TableCase::new().await;
    cell.payable().await;
    cell.wechat_says("REVOKED");
    cell.look().await;
    cell.stands(&[&PAYABLE[..], &["closed by query"]].concat(), &[]).await;
    cell.world.finish().await;
}

#[tokio::test]
async fn closing_order_closed_by_wechat_is_closed() {
    let cell = TableCase::new().await;
    cell.payable().await;
    cell.closing().await;
    cell.closed().await;
    cell.stands(&CLOSED, &[]).await;
    let calls = cell.calls();
    assert_eq!((calls.orderquery, calls.closeorder), (1, 0));
    cell.world.finish().await;
}

#[tokio::test]
async fn closing_order_is_closed_by_closeorder() {
    let cell = TableCase::new().await;
    cell.payable().await;
    cell.closing().await;
    // WeChat wants five minutes between the creation and the close.
    cell.look().await;
    cell.stands(&CLOSING, &[]).await;
    let calls = cell.calls();
    assert_eq!((calls.orderquery, calls.closeorder), (1, 0));

    cell.ages().await;
    cell.look().await;
    cell.stands(&CLOSED_BY_REPLY, &[]).await;
    let calls = cell.calls();
    assert_eq!((calls.orderquery, calls.closeorder), (2, 1));
    cell.world.finish().await;
}

#[tokio::test]
async fn closing_order_closed_by_others_is_closed() {
    let cell = TableCase::new().await;
    cell.payable().await;
    cell.closing().await;
    cell.ages().await;
    let closed = Fault::ErrCode { err_code: "ORDERCLOSED".to_owned(), err_code_des: String::new() };
    cell.inject_fault(Api::Closeorder, closed);
    cell.look().await;
    cell.stands(&CLOSED_BY_REPLY, &[]).await;
    cell.world.finish().await;
}

#[tokio::test]
async fn check_after_close_leaves_closed_order_closed() {
    let cell = TableCase::new().await;
    cell.payable().await;
    cell.closing().await;
    cell.closed().await;
    let known = cell.known().await;
    cell.look().await;
    assert_eq!(cell.known().await, known, "nothing changes");
    cell.stands(&CLOSED, &[]).await;
    cell.world.finish().await;
}

#[tokio::test]
async fn late_closed_answer_leaves_failed_order_failed() {
    let mut cell = TableCase::new().await;
    let unknown = async |cell: &TableCase| cell.unknown().await;
    let known = cell
        .told_late(unknown, "CLOSED", async |cell| {
            cell.lease_ends().await;
            cell.inject_fault(Api::Unifiedorder, refused_for_good());
            refused(&cell.create().await, "NOAUTH");
        })
        .await;
    assert_eq!(cell.known().await, known, "nothing changes");
    cell.stands(&FAILED, &[]).await;
    cell.world.finish().await;
}

#[tokio::test]
async fn late_closed_answer_contradicts_paid_order() {
    let mut cell = TableCase::new().await;
    let payable = async |cell: &TableCase| cell.payable().await;
    let paid = async |cell: &TableCase| cell.paid().await;
    let known = cell.told_late(payable, "REVOKED", paid).await;
    assert_eq!(cell.known().await, known, "nothing changes");
    cell.contradicts(&PAID, "closed").await;
    cell.world.finish().await;
}
