//! Close requests of shops, over HTTP and AMQP.

use futures_util::future::join_all;
use harness::amqp::Amqp;
use harness::problem::{kind_of, wrong_fields};
use harness::{Shop, World, eventually, fast_schedule};
use lapin::BasicProperties;
use serde_json::{Value, json};
use simulator::PayOptions;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    CLOSED, create_payable_order, expect_no_exceptions, request_close, schedule_without_waits,
    world_with,
};

const CLOSE: &str = "order.close";
const CREATE: &str = "order.create";

/// The properties of a command that was sent this many seconds ago.
fn sent_ago(seconds: i64) -> BasicProperties {
    let at = OffsetDateTime::now_utc().unix_timestamp() - seconds;
    BasicProperties::default()
        .with_content_type("application/json".into())
        .with_message_id(Uuid::now_v7().to_string().into())
        .with_timestamp(at.try_into().unwrap())
        .with_delivery_mode(2)
}

fn key(mch_id: &str, number: &str) -> Vec<u8> {
    json!({"mch_id": mch_id, "out_trade_no": number}).to_string().into_bytes()
}

#[tokio::test]
async fn close_by_http_closes_order() {
    let world = world_with(fast_schedule()).await;
    for shop in [world.md5_shop(), world.hmac_shop()] {
        for wait in [None, Some(20)] {
            let number = create_payable_order(&world, &shop).await;
            let (status, view) = world.close(&shop.mch_id, &number, wait).await;
            assert_eq!(status.as_u16(), if wait.is_some() { 200 } else { 202 }, "{view}");
            world.expect_events(&number, &CLOSED).await;
            assert_eq!(
                world.transition_labels(&number).await,
                ["created by shop", "payable by reply", "closing by shop", "closed by reply"]
            );
            let calls = world.calls(&shop, &number);
            assert_eq!(calls.closeorder, 1);
            assert!(calls.orderquery >= 1, "a query comes before closeorder");
            let gateway = world.simulator.order(&shop.mch_id, &number).unwrap();
            assert_eq!(gateway.trade_state, "CLOSED");
            let (status, view) = world.get(&shop, &number).await;
            assert_eq!((status.as_u16(), &view["state"]), (200, &json!("closed")));
            assert_eq!(view.get("prepay_id"), None);
            expect_no_exceptions(&world, &number).await;
        }
    }
    world.finish().await;
}

#[tokio::test]
async fn close_by_amqp_closes_order() {
    let world = world_with(fast_schedule()).await;
    let shop = world.md5_shop();
    let amqp = Amqp::connect(&world.environment).await;
    let mut answers = amqp.direct_reply_to().await;
    let number = create_payable_order(&world, &shop).await;
    let asked = sent_ago(0)
        .with_reply_to(answers.name.as_str().into())
        .with_correlation_id("cart-17".into());
    amqp.command(CLOSE, &key(&shop.mch_id, &number), asked).await;
    let reply = answers.next_json().await;
    assert_eq!((&reply["status"], &reply["order"]["state"]), (&json!(200), &json!("closing")));
    world.expect_events(&number, &CLOSED).await;
    assert_eq!(world.calls(&shop, &number).closeorder, 1);
    amqp.close().await;
    world.finish().await;
}

#[tokio::test]
async fn close_before_its_create_waits() {
    let world = world_with(fast_schedule()).await;
    let shop = world.md5_shop();
    let number = Shop::number();
    let amqp = Amqp::connect(&world.environment).await;
    let mut answers = amqp.direct_reply_to().await;
    let asked = sent_ago(0).with_reply_to(answers.name.as_str().into());
    amqp.command(CLOSE, &key(&shop.mch_id, &number), asked).await;
    eventually("a delayed close", async || {
        let waiting = amqp.peek_all(&amqp.qualified_name("orders.delay.5s")).await;
        (waiting.len() == 1).then_some(())
    })
    .await;
    let order = shop.order(&number, 9900).to_string().into_bytes();
    amqp.command(CREATE, &order, sent_ago(0)).await;
    world.expect_events(&number, &CLOSED).await;
    let reply = answers.next_json().await;
    assert_eq!((&reply["status"], &reply["order"]["state"]), (&json!(200), &json!("closing")));
    amqp.close().await;
    world.finish().await;
}

#[tokio::test]
async fn close_of_unknown_order_is_rejected() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let number = Shop::number();
    let amqp = Amqp::connect(&world.environment).await;
    let mut answers = amqp.direct_reply_to().await;
    let asked = sent_ago(61).with_reply_to(answers.name.as_str().into());
    amqp.command(CLOSE, &key(&shop.mch_id, &number), asked).await;
    let reply = answers.next_json().await;
    assert_eq!(reply["status"], 404, "{reply}");
    assert_eq!(kind_of(&reply["problem"]), "not-found");
    world.wait_for_event(&number, "order.rejected").await;
    assert_eq!(world.events.distinct(&number).len(), 1);
    let (status, problem) = world.get(&shop, &number).await;
    assert_eq!((status.as_u16(), kind_of(&problem)), (404, "not-found"));
    let calls = world.calls(&shop, &number);
    assert_eq!((calls.orderquery, calls.closeorder), (0, 0));

    // The number can still be used.
    world.create_payable(&shop.order(&number, 9900)).await;
    amqp.close().await;
    world.finish().await;
}

/// Requests a close and expects a problem; returns its status and the problem.
async fn close_and_expect_problem(world: &World, mch_id: &str, number: &str) -> (u16, Value) {
    let (status, problem) = world.close(mch_id, number, Some(20)).await;
    assert_eq!(problem["status"], status.as_u16(), "{problem}");
    (status.as_u16(), problem)
}

#[tokio::test]
async fn close_of_paid_order_answers_409() {
    let world = world_with(schedule_without_waits()).await;
    let shop = world.md5_shop();
    let number = create_payable_order(&world, &shop).await;
    world.pay(&shop, &number, &PayOptions::default());
    world.wait_for_event(&number, "order.paid").await;
    let ledger = world.ledger_rows().await;
    for times in 1..=2 {
        let (status, problem) = close_and_expect_problem(&world, &shop.mch_id, &number).await;
        assert_eq!((status, &problem["state"]), (409, &json!("paid")), "{problem}");
        eventually("the rejection", async || {
            let mut events = world.events.distinct(&number);
            events.retain(|event| event["type"] == "order.rejected");
            (events.len() == times).then_some(())
        })
        .await;
    }
    assert_eq!(world.ledger_rows().await, ledger);
    expect_no_exceptions(&world, &number).await;
    assert_eq!(world.calls(&shop, &number).closeorder, 0);
    world.finish().await;
}

#[tokio::test]
async fn close_may_be_repeated() {
    let world = world_with(schedule_without_waits()).await;
    let shop = world.md5_shop();
    let number = create_payable_order(&world, &shop).await;
    let closes = join_all((0..5).map(|_| request_close(&world, &shop, &number)));
    closes.await;
    world.expect_events(&number, &CLOSED).await;
    let ledger = world.ledger_rows().await;
    let (status, view) = world.close(&shop.mch_id, &number, Some(20)).await;
    assert_eq!((status.as_u16(), &view["state"]), (200, &json!("closed")));
    assert_eq!(world.ledger_rows().await, ledger);
    assert_eq!(world.calls(&shop, &number).closeorder, 1);

    // A repeat of the create answers closed, without a call.
    let (status, view) = world.create(&shop.order(&number, 9900), Some(20)).await;
    assert_eq!((status.as_u16(), &view["state"]), (200, &json!("closed")));
    assert_eq!(view.get("pay"), None);
    assert_eq!(world.calls(&shop, &number).unifiedorder, 1);
    expect_no_exceptions(&world, &number).await;
    world.finish().await;
}

#[tokio::test]
async fn close_for_other_merchant_is_rejected() {
    let world = world_with(schedule_without_waits()).await;
    let number = Shop::number();
    let (status, problem) = close_and_expect_problem(&world, "1999999999", &number).await;
    assert_eq!((status, wrong_fields(&problem)), (422, vec!["mch_id"]));
    world.wait_for_event(&number, "order.rejected").await;

    // A merchant cannot close another merchant's order with the same number.
    let shop = world.md5_shop();
    let number = create_payable_order(&world, &shop).await;
    let amqp = Amqp::connect(&world.environment).await;
    amqp.command(CLOSE, &key(&world.hmac_shop().mch_id, &number), sent_ago(61)).await;
    world.wait_for_event(&number, "order.rejected").await;
    assert_eq!(world.order_state(&shop, &number).await.unwrap(), "payable");
    amqp.close().await;
    world.finish().await;
}
