//! A shop's queue refuses an event: it waits alone.

use harness::amqp::Amqp;
use harness::{Options, OutboxAttempts, Shop, World, eventually};
use simulator::PayOptions;

/// Pauses of 2, 4 and 8 s.
const ATTEMPTS: i32 = 3;

/// Waits until the only event of this order in the outbox was tried this often.
async fn wait_for_attempt(world: &World, number: &str, attempts: i32) -> OutboxAttempts {
    eventually("an attempt", async || match world.outbox_attempts(number).await[..] {
        [row] if row.attempts >= attempts => Some(row),
        _ => None,
    })
    .await
}

#[tokio::test]
async fn refused_event_waits_alone_with_growing_pauses() {
    let world = World::start_with(Options::default()).await;
    let shop = world.md5_shop();
    let other = world.hmac_shop();
    let amqp = Amqp::connect(&world.environment).await;
    let queue = format!("shop.{}.full", world.environment.namespace);
    amqp.refusing_queue(&queue, &format!("order.payable.{}", shop.mch_id)).await;

    let number = Shop::number();
    world.create_payable(&shop.order(&number, 9900)).await;
    world.pay(&shop, &number, &PayOptions::default());
    let mut before = wait_for_attempt(&world, &number, 1).await;
    while before.attempts < ATTEMPTS {
        let row = wait_for_attempt(&world, &number, before.attempts + 1).await;
        // It was tried no earlier than at its time, and waits for 2, 4, 8 s from then on.
        let pause = 2_f64.powi(row.attempts);
        assert!(row.next_attempt_at - before.next_attempt_at >= pause, "{before:?} {row:?}");
        before = row;
    }
    world.wait_for_state(&shop, &number, "paid").await;
    world.wait_for_event(&number, "order.paid").await;
    // Neither do those of another order and another shop.
    for shop in [&shop, &other] {
        let number = Shop::number();
        world.create_payable(&shop.order(&number, 9900)).await;
        world.wait_for_event(&number, "order.created").await;
    }

    amqp.delete(&queue).await;
    world.expect_events(&number, &["order.created", "order.payable", "order.paid"]).await;
    eventually("the confirm", async || {
        world.outbox_attempts(&number).await.is_empty().then_some(())
    })
    .await;
    let payable = world.events.for_order(&number);
    let payable: Vec<_> = payable.iter().filter(|it| it["type"] == "order.payable").collect();
    assert!(payable.len() >= ATTEMPTS as usize, "the queue beside it received each attempt");
    assert!(payable.iter().all(|event| *event == payable[0]), "{payable:#?}");
    amqp.close().await;
    world.finish().await;
}
