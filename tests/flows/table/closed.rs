//! WeChat has closed the order, according to closeorder or to a query.

use simulator::{Api, Fault};

use super::table_case::{CLOSED, CLOSING, FAILED, PAID, PAYABLE, TableCase, UNKNOWN};
use super::table_case::{expect_refused, permanent_refusal};

const CLOSED_BY_REPLY: [&str; 4] =
    ["created by shop", "payable by reply", "closing by shop", "closed by reply"];

#[tokio::test]
async fn created_order_closed_by_wechat_is_closed() {
    let case = TableCase::new().await;
    case.make_unknown().await;
    case.make_closed().await;
    case.expect_order(&[UNKNOWN[0], "closed by query"], &[]).await;
    case.world.finish().await;
}

#[tokio::test]
async fn payable_order_closed_by_wechat_is_closed() {
    let case = TableCase::new().await;
    case.make_payable().await;
    case.set_trade_state("REVOKED");
    case.check().await;
    case.expect_order(&[&PAYABLE[..], &["closed by query"]].concat(), &[]).await;
    case.world.finish().await;
}

#[tokio::test]
async fn closing_order_closed_by_wechat_is_closed() {
    let case = TableCase::new().await;
    case.make_payable().await;
    case.make_closing().await;
    case.make_closed().await;
    case.expect_order(&CLOSED, &[]).await;
    let calls = case.calls();
    assert_eq!((calls.orderquery, calls.closeorder), (1, 0));
    case.world.finish().await;
}

#[tokio::test]
async fn closing_order_is_closed_by_closeorder() {
    let case = TableCase::new().await;
    case.make_payable().await;
    case.make_closing().await;
    // WeChat requires five minutes between the creation and the close.
    case.check().await;
    case.expect_order(&CLOSING, &[]).await;
    let calls = case.calls();
    assert_eq!((calls.orderquery, calls.closeorder), (1, 0));

    case.age_order().await;
    case.check().await;
    case.expect_order(&CLOSED_BY_REPLY, &[]).await;
    let calls = case.calls();
    assert_eq!((calls.orderquery, calls.closeorder), (2, 1));
    case.world.finish().await;
}

#[tokio::test]
async fn closing_order_closed_by_others_is_closed() {
    let case = TableCase::new().await;
    case.make_payable().await;
    case.make_closing().await;
    case.age_order().await;
    let closed = Fault::ErrCode { err_code: "ORDERCLOSED".to_owned(), err_code_des: String::new() };
    case.inject_fault(Api::Closeorder, closed);
    case.check().await;
    case.expect_order(&CLOSED_BY_REPLY, &[]).await;
    case.world.finish().await;
}

#[tokio::test]
async fn check_after_close_leaves_closed_order_closed() {
    let case = TableCase::new().await;
    case.make_payable().await;
    case.make_closing().await;
    case.make_closed().await;
    let before = case.snapshot().await;
    case.check().await;
    assert_eq!(case.snapshot().await, before, "nothing changes");
    case.expect_order(&CLOSED, &[]).await;
    case.world.finish().await;
}

#[tokio::test]
async fn late_closed_answer_leaves_failed_order_failed() {
    let mut case = TableCase::new().await;
    let unknown = async |case: &TableCase| case.make_unknown().await;
    let before = case
        .answer_query_late(unknown, "CLOSED", async |case| {
            case.expire_lease().await;
            case.inject_fault(Api::Unifiedorder, permanent_refusal());
            expect_refused(&case.create().await, "NOAUTH");
        })
        .await;
    assert_eq!(case.snapshot().await, before, "nothing changes");
    case.expect_order(&FAILED, &[]).await;
    case.world.finish().await;
}

#[tokio::test]
async fn late_closed_answer_contradicts_paid_order() {
    let mut case = TableCase::new().await;
    let payable = async |case: &TableCase| case.make_payable().await;
    let paid = async |case: &TableCase| case.make_paid().await;
    let before = case.answer_query_late(payable, "REVOKED", paid).await;
    assert_eq!(case.snapshot().await, before, "nothing changes");
    case.expect_contradiction(&PAID, "closed").await;
    case.world.finish().await;
}
