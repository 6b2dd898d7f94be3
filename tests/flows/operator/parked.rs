//! `parked list`, `show`, `replay` and `discard`.

use broker::{Exchange, Queue, exchange_name};
use harness::amqp::Amqp;
use harness::program::Program;
use harness::{Shop, World, eventually};
use lapin::types::FieldTable;
use serde_json::json;
use simulator::PayOptions;
use uuid::Uuid;

use super::{actions, command, create_payable_order};

async fn wait_for_messages(amqp: &Amqp, queue: &str, count: usize) {
    let name = amqp.qualified_name(queue);
    eventually(&format!("{count} messages in {queue}"), async || {
        (amqp.peek_all(&name).await.len() == count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn parked_message_is_listed_shown_replayed_discarded() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let number = Shop::number();
    let program = Program::of(&world);
    let amqp = Amqp::connect(&world.environment).await;
    let broken = Uuid::now_v7().to_string();
    // The command names no merchant, so the worker cannot publish a rejection.
    let body = json!({"openid": shop.openid, "out_trade_no": number}).to_string();
    amqp.command("order.create", body.as_bytes(), command(&broken)).await;
    wait_for_messages(&amqp, "orders.parked", 1).await;

    let listed = program.run_ok(&world, &["parked", "list"]).await;
    for words in ["orders", "#1", &broken, "order.create", &number, "no command can be read"] {
        assert!(listed.contains(words), "no {words:?} in\n{listed}");
    }
    let shown = program.run_ok(&world, &["parked", "show", "orders", &broken]).await;
    assert!(shown.contains("replayable   yes"), "{shown}");
    wait_for_messages(&amqp, "orders.parked", 1).await;

    // The cause is not fixed, so the message is parked again.
    let first = amqp.peek_all(&amqp.qualified_name("orders.parked")).await;
    let output = program.run_ok(&world, &["parked", "replay", "orders", &broken]).await;
    assert_eq!(output, "1 message sent again\n");
    let parked_at =
        |found: &[lapin::message::Delivery]| harness::amqp::header(&found[0], "parked_at").unwrap();
    eventually("the message parked again", async || {
        let found = amqp.peek_all(&amqp.qualified_name("orders.parked")).await;
        (found.len() == 1 && parked_at(&found) != parked_at(&first)).then_some(())
    })
    .await;
    let mch = format!("?/{number}");
    let discard = ["parked", "discard", "orders", "#1", "--reason", "fixed by the shop"];
    let output = program.run_ok(&world, &discard).await;
    assert!(output.starts_with("discarded:") && output.contains(&mch), "{output}");
    wait_for_messages(&amqp, "orders.parked", 0).await;
    let done = actions(&world, "parked discard").await;
    assert_eq!(done.len(), 1, "{done:?}");
    assert!(done[0].1.contains(&broken), "{done:?}");
    assert_eq!(done[0].2.as_deref(), Some("fixed by the shop"));
    assert_eq!(actions(&world, "parked replay").await.len(), 1);
    amqp.close().await;
    world.finish().await;
}

#[tokio::test]
async fn replayed_parked_order_is_processed() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let program = Program::of(&world);
    let amqp = Amqp::connect(&world.environment).await;
    let numbers: Vec<_> = (0..3).map(|_| Shop::number()).collect();
    let parking = amqp.qualified_name("orders.parked");
    for number in &numbers {
        let body = shop.order(number, 9900).to_string();
        let id = Uuid::now_v7().to_string();
        amqp.publish(&parking, "order.create", body.as_bytes(), command(&id)).await;
    }
    wait_for_messages(&amqp, "orders.parked", 3).await;
    assert_eq!(world.ledger_rows().await, [""; 0]);
    let output = program.run_ok(&world, &["parked", "replay", "orders", "--all"]).await;
    assert_eq!(output, "3 messages sent again\n");
    for number in &numbers {
        world.wait_for_state(&shop, number, "payable").await;
    }
    wait_for_messages(&amqp, "orders.parked", 0).await;
    let done = actions(&world, "parked replay").await;
    assert_eq!(done.len(), 3, "{done:?}");
    amqp.close().await;
    world.finish().await;
}

#[tokio::test]
async fn unrouted_messages_are_processed_after_rebinding() {
    let mut world = World::start().await;
    let shop = world.md5_shop();
    let number = Shop::number();
    let program = Program::of(&world);
    let paid_number = create_payable_order(&world, &shop).await;
    world.stop_workers().await;
    let amqp = Amqp::connect(&world.environment).await;
    let lost = [
        (Queue::Orders, Exchange::Commands, "order.create"),
        (Queue::Notifications, Exchange::Notify, "payment"),
    ];
    for (queue, exchange, key) in lost {
        unbind(&world, &amqp.qualified_name(queue.name()), exchange, key).await;
    }
    let (status, _) = world.create(&shop.order(&number, 9900), None).await;
    assert_eq!(status, 202);
    let body = world.unsent_notification(&shop, &paid_number, PayOptions::default());
    world.notify_ok(&shop.mch_id, &body).await;
    wait_for_messages(&amqp, "unrouted", 2).await;
    let listed = program.run_ok(&world, &["parked", "list", "unrouted"]).await;
    assert!(listed.contains("order.create") && listed.contains("payment"), "{listed}");
    // A message whose binding is still missing stays there.
    program.run(&world, &["parked", "replay", "unrouted", "--all"]).await;
    wait_for_messages(&amqp, "unrouted", 2).await;

    world.add_worker().await;
    world.wait_for_state(&shop, &number, "payable").await;
    world.wait_for_state(&shop, &paid_number, "paid").await;
    wait_for_messages(&amqp, "unrouted", 0).await;
    world.pay(&shop, &number, &PayOptions::default());
    world.wait_for_state(&shop, &number, "paid").await;
    amqp.close().await;
    world.finish().await;
}

async fn unbind(world: &World, queue: &str, exchange: Exchange, key: &str) {
    let url = harness::environment::amqp_text();
    let connection = lapin::Connection::connect(&url, Default::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let exchange = exchange_name(&world.environment.namespace, exchange);
    let queue = queue.into();
    let exchange = exchange.as_str().into();
    let key = key.into();
    channel.queue_unbind(queue, exchange, key, FieldTable::default()).await.unwrap();
    connection.close(200, "OK".into()).await.unwrap();
}
