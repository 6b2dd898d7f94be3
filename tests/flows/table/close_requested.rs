//! A shop asks to close, over HTTP and over AMQP.

use harness::amqp::Amqp;
use harness::eventually;
use harness::problem::kind_of;
use lapin::BasicProperties;
use serde_json::json;

use super::table_case::{Answer, CLOSED, CLOSING, FAILED, PAID, TableCase, answered, shows};

/// Asks over AMQP, and returns the status and what is answered.
async fn close_by_message(cell: &TableCase) -> Answer {
    let amqp = Amqp::connect(&cell.world.environment).await;
    let mut answers = amqp.private_queue().await;
    let key = json!({"mch_id": cell.shop.mch_id, "out_trade_no": cell.number});
    let question = BasicProperties::default()
        .with_content_type("application/json".into())
        .with_message_id(uuid::Uuid::now_v7().to_string().into())
        .with_delivery_mode(2)
        .with_reply_to(answers.name.as_str().into())
        .with_correlation_id("close".into());
    amqp.command("order.close", key.to_string().as_bytes(), question).await;
    let answer = answers.next_json().await;
    amqp.close().await;
    let said = answer.get("order").or(answer.get("problem")).cloned();
    (answer["status"].as_u64().unwrap().try_into().unwrap(), said.unwrap())
}

/// Both ways to ask are answered with this state, and nothing changes.
async fn changes_nothing(cell: &TableCase, moves: &[&str]) {
    let known = cell.known().await;
    let state = moves.last().unwrap().split(' ').next().unwrap();
    for answer in [cell.close().await, close_by_message(cell).await] {
        answered(&answer, 200, state);
        shows(&answer, &[]);
        assert_eq!(answer.1["seq"], moves.len());
    }
    assert_eq!(cell.known().await, known, "nothing changes");
    cell.stands(moves, &[]).await;
}

fn is_paid_already((status, problem): &Answer) {
    assert_eq!((*status, kind_of(problem)), (409, "already-paid"), "{problem}");
    assert_eq!(problem["state"], "paid");
}

#[tokio::test]
async fn close_makes_created_order_closing() {
    let cell = TableCase::new().await;
    cell.unknown().await;
    let answer = cell.close().await;
    answered(&answer, 200, "closing");
    assert_eq!(answer.1["seq"], 2);
    cell.stands(&["created by shop", "closing by shop"], &[]).await;
    cell.world.finish().await;
}

#[tokio::test]
async fn close_makes_payable_order_closing() {
    let cell = TableCase::new().await;
    cell.payable().await;
    let answer = close_by_message(&cell).await;
    answered(&answer, 200, "closing");
    assert_eq!(answer.1["seq"], 3);
    assert_eq!(answer.1.get("prepay_id"), None, "nobody shall begin to pay");
    cell.stands(&CLOSING, &[]).await;
    cell.world.finish().await;
}

#[tokio::test]
async fn close_without_wait_answers_202() {
    let cell = TableCase::new().await;
    cell.payable().await;
    let (status, _) = cell.world.close(&cell.shop.mch_id, &cell.number, None).await;
    assert_eq!(status.as_u16(), 202);
    cell.world.wait_for_state(&cell.shop, &cell.number, "closing").await;
    cell.stands(&CLOSING, &[]).await;
    cell.world.finish().await;
}

#[tokio::test]
async fn close_leaves_closing_order_closing() {
    let cell = TableCase::new().await;
    cell.payable().await;
    cell.closing().await;
    changes_nothing(&cell, &CLOSING).await;
    cell.world.finish().await;
}

#[tokio::test]
async fn close_leaves_closed_order_closed() {
    let cell = TableCase::new().await;
    cell.payable().await;
    cell.closing().await;
    cell.closed().await;
    changes_nothing(&cell, &CLOSED).await;
    cell.world.finish().await;
}

#[tokio::test]
async fn close_leaves_failed_order_failed() {
    let cell = TableCase::new().await;
    cell.failed().await;
    changes_nothing(&cell, &FAILED).await;
    cell.world.finish().await;
}

#[tokio::test]
async fn close_of_paid_order_is_conflict_without_exception() {
    let mut cell = TableCase::new().await;
    cell.payable().await;
    cell.paid().await;
    let known = cell.known().await;
    is_paid_already(&cell.close().await);
    is_paid_already(&close_by_message(&cell).await);
    assert_eq!(cell.known().await, known, "nothing changes");
    cell.expect_declined(2);
    cell.stands(&PAID, &[]).await;
    let rejected = eventually("both to be told as rejected", async || {
        let mut events = cell.world.events.distinct(&cell.number);
        events.retain(|event| event["type"] == "order.rejected");
        (events.len() == 2).then_some(events)
    })
    .await;
    for event in rejected {
        is_paid_already(&(409, event["problem"].clone()));
    }
    cell.world.finish().await;
}
