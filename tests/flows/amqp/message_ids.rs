//! Repeated, missing and unusual message ids.

use harness::amqp::Amqp;
use harness::problem::wrong_fields;
use harness::{Shop, World, eventually};
use lapin::BasicProperties;
use serde_json::Value;

use super::{CREATE, bytes, new_id, pay_and_expect_paid, reply_properties, wrong_order};

#[tokio::test]
async fn repeated_wrong_command_is_rejected_once_answered_twice() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let number = Shop::number();
    let amqp = Amqp::connect(&world.environment).await;
    let mut answers = amqp.private_queue().await;
    let id = new_id();
    let order = bytes(&wrong_order(&shop, &number));
    for _ in 0..2 {
        amqp.command(CREATE, &order, reply_properties(&id, &answers, "twice")).await;
    }
    let replies = [answers.next_json().await, answers.next_json().await];
    assert_eq!(replies[0], replies[1]);
    assert_eq!(replies[0]["status"], 422);
    assert_eq!(wrong_fields(&replies[0]["problem"]), ["total_fee"]);
    world.wait_for_event(&number, "order.rejected").await;

    // Another command with the same content is rejected again.
    let properties = reply_properties(&new_id(), &answers, "another");
    amqp.command(CREATE, &order, properties).await;
    answers.next_json().await;
    let events = eventually("the second rejection", async || {
        let events = world.events.distinct(&number);
        (events.len() > 1).then_some(events)
    })
    .await;
    assert_eq!(events.len(), 2, "{events:#?}");
    for event in &events {
        assert_eq!(event["type"], "order.rejected");
        assert_eq!(event["mch_id"], shop.mch_id.as_str());
        assert_eq!(event["problem"], replies[0]["problem"]);
        assert_eq!(event["version"], 1);
        assert_eq!(event.get("seq"), None, "a rejection is no transition");
    }
    assert_ne!(events[0]["id"], events[1]["id"]);
    amqp.close().await;
    world.finish().await;
}

#[tokio::test]
async fn repeated_create_is_one_order() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let number = Shop::number();
    let amqp = Amqp::connect(&world.environment).await;
    let mut answers = amqp.private_queue().await;
    let id = new_id();
    let order = bytes(&shop.order(&number, 9900));
    for _ in 0..3 {
        amqp.command(CREATE, &order, reply_properties(&id, &answers, &id)).await;
    }
    for _ in 0..3 {
        let reply = answers.next_json().await;
        assert_eq!(reply["status"], 200, "{reply}");
        assert_eq!(reply["order"]["state"], "payable");
    }
    let calls = world.simulator.calls(&shop.mch_id, &number);
    assert_eq!(calls.unifiedorder, 1);
    pay_and_expect_paid(&world, &shop, &number).await;
    amqp.close().await;
    world.finish().await;
}

#[tokio::test]
async fn command_without_message_id_works_and_rejects_once() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let good = Shop::number();
    let wrong = Shop::number();
    let amqp = Amqp::connect(&world.environment).await;
    let mut answers = amqp.private_queue().await;
    let without_id = || BasicProperties::default().with_reply_to(answers.name.as_str().into());
    let bare = BasicProperties::default();
    amqp.command(CREATE, &bytes(&shop.order(&good, 9900)), bare).await;
    pay_and_expect_paid(&world, &shop, &good).await;

    let order = bytes(&wrong_order(&shop, &wrong));
    let properties = [without_id(), without_id()];
    for properties in properties {
        amqp.command(CREATE, &order, properties).await;
        let reply = answers.next_json().await;
        assert_eq!(reply["status"], 422, "{reply}");
    }
    world.wait_for_event(&wrong, "order.rejected").await;
    let rejections = "select count(*) from rejections where out_trade_no = $1";
    let rejections: i64 = sqlx::query_scalar(rejections)
        .bind(&wrong)
        .fetch_one(&world.environment.pool)
        .await
        .unwrap();
    assert_eq!(rejections, 1);
    amqp.close().await;
    world.finish().await;
}

#[tokio::test]
async fn message_ids_of_two_merchants_may_be_equal() {
    let world = World::start().await;
    let amqp = Amqp::connect(&world.environment).await;
    let mut answers = amqp.private_queue().await;
    for shop in [world.md5_shop(), world.hmac_shop()] {
        let number = Shop::number();
        let properties = reply_properties("1", &answers, "1");
        amqp.command(CREATE, &bytes(&wrong_order(&shop, &number)), properties).await;
        assert_eq!(answers.next_json().await["status"], 422);
        world.wait_for_event(&number, "order.rejected").await;
        let (status, _) = world.get(&shop, &number).await;
        assert_eq!(status.as_u16(), 422);
    }
    amqp.close().await;
    world.finish().await;
}

#[tokio::test]
async fn message_id_may_be_any_text() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let amqp = Amqp::connect(&world.environment).await;
    let mut answers = amqp.private_queue().await;
    let ids = ["", "1", "a b", "\0", "订单-1", "\n", "'; --", &"i".repeat(255)];
    for id in ids {
        let wrong = Shop::number();
        let good = Shop::number();
        for number in [&wrong, &good] {
            let order = if number == &wrong {
                wrong_order(&shop, number)
            } else {
                shop.order(number, 9900)
            };
            let properties = reply_properties(id, &answers, id);
            amqp.command(CREATE, &bytes(&order), properties).await;
            let answer = answers.next().await;
            let correlation_id = answer.properties.correlation_id().as_ref();
            assert_eq!(correlation_id.unwrap().as_str(), id);
            let reply: Value = serde_json::from_slice(&answer.data).unwrap();
            let expected = if number == &wrong { 422 } else { 200 };
            assert_eq!(reply["status"], expected, "{id:?}: {reply}");
        }
        world.wait_for_event(&wrong, "order.rejected").await;
        world.wait_for_event(&good, "order.payable").await;
    }
    amqp.close().await;
    world.finish().await;
}
