//! A shop requests a close, over HTTP and over AMQP.

use harness::amqp::Amqp;
use harness::eventually;
use harness::problem::kind_of;
use lapin::BasicProperties;
use serde_json::json;

use super::table_case::{
    Answer, CLOSED, CLOSING, FAILED, PAID, TableCase, expect_answer, expect_exceptions,
};

/// Requests a close over AMQP; returns the status and the order or problem of the reply.
async fn close_by_message(case: &TableCase) -> Answer {
    let amqp = Amqp::connect(&case.world.environment).await;
    let mut answers = amqp.private_queue().await;
    let key = json!({"mch_id": case.shop.mch_id, "out_trade_no": case.number});
    let question = BasicProperties::default()
        .with_content_type("application/json".into())
        .with_message_id(uuid::Uuid::now_v7().to_string().into())
        .with_delivery_mode(2)
        .with_reply_to(answers.name.as_str().into())
        .with_correlation_id("close".into());
    amqp.command("order.close", key.to_string().as_bytes(), question).await;
    let answer = answers.next_json().await;
    amqp.close().await;
    let status = answer["status"].as_u64().unwrap();
    let body = answer.get("order").or(answer.get("problem")).unwrap();
    (status.try_into().unwrap(), body.clone())
}

/// Expects that a close over HTTP and one over AMQP answer this state and change nothing.
async fn expect_no_change(case: &TableCase, moves: &[&str]) {
    let before = case.snapshot().await;
    let state = moves.last().unwrap().split(' ').next().unwrap();
    for answer in [case.close().await, close_by_message(case).await] {
        expect_answer(&answer, 200, state);
        expect_exceptions(&answer, &[]);
        assert_eq!(answer.1["seq"], moves.len());
    }
    assert_eq!(case.snapshot().await, before, "nothing changes");
    case.expect_order(moves, &[]).await;
}

fn expect_already_paid((status, problem): &Answer) {
    assert_eq!((*status, kind_of(problem)), (409, "already-paid"), "{problem}");
    assert_eq!(problem["state"], "paid");
}

#[tokio::test]
async fn close_makes_created_order_closing() {
    let case = TableCase::new().await;
    case.make_unknown().await;
    let answer = case.close().await;
    expect_answer(&answer, 200, "closing");
    assert_eq!(answer.1["seq"], 2);
    case.expect_order(&["created by shop", "closing by shop"], &[]).await;
    case.world.finish().await;
}

#[tokio::test]
async fn close_makes_payable_order_closing() {
    let case = TableCase::new().await;
    case.make_payable().await;
    let answer = close_by_message(&case).await;
    expect_answer(&answer, 200, "closing");
    assert_eq!(answer.1["seq"], 3);
    assert_eq!(answer.1.get("prepay_id"), None, "a payment must not be possible");
    case.expect_order(&CLOSING, &[]).await;
    case.world.finish().await;
}

#[tokio::test]
async fn close_without_wait_answers_202() {
    let case = TableCase::new().await;
    case.make_payable().await;
    let (status, _) = case.world.close(&case.shop.mch_id, &case.number, None).await;
    assert_eq!(status.as_u16(), 202);
    case.world.wait_for_state(&case.shop, &case.number, "closing").await;
    case.expect_order(&CLOSING, &[]).await;
    case.world.finish().await;
}

#[tokio::test]
async fn close_leaves_closing_order_closing() {
    let case = TableCase::new().await;
    case.make_payable().await;
    case.make_closing().await;
    expect_no_change(&case, &CLOSING).await;
    case.world.finish().await;
}

#[tokio::test]
async fn close_leaves_closed_order_closed() {
    let case = TableCase::new().await;
    case.make_payable().await;
    case.make_closing().await;
    case.make_closed().await;
    expect_no_change(&case, &CLOSED).await;
    case.world.finish().await;
}

#[tokio::test]
async fn close_leaves_failed_order_failed() {
    let case = TableCase::new().await;
    case.make_failed().await;
    expect_no_change(&case, &FAILED).await;
    case.world.finish().await;
}

#[tokio::test]
async fn close_of_paid_order_is_conflict_without_exception() {
    let mut case = TableCase::new().await;
    case.make_payable().await;
    case.make_paid().await;
    let before = case.snapshot().await;
    expect_already_paid(&case.close().await);
    expect_already_paid(&close_by_message(&case).await);
    assert_eq!(case.snapshot().await, before, "nothing changes");
    case.expect_rejections(2);
    case.expect_order(&PAID, &[]).await;
    let rejected = eventually("two rejection events", async || {
        let mut events = case.world.events.distinct(&case.number);
        events.retain(|event| event["type"] == "order.rejected");
        (events.len() == 2).then_some(events)
    })
    .await;
    for event in rejected {
        expect_already_paid(&(409, event["problem"].clone()));
    }
    case.world.finish().await;
}
