//! A shop's queue confirms nothing for a while: only its own events wait.

use harness::amqp::Amqp;
use harness::program::Program;
use harness::servers::{Server, Servers};
use harness::{Options, Shop, World, eventually};
use simulator::PayOptions;

const EVENTS: [&str; 3] = ["order.created", "order.payable", "order.paid"];
const FROZEN_QUEUE: &str = "shop.frozen";
/// Far more than the broker accepts for a frozen queue before it stops reading a connection.
const FROZEN_EVENTS: i64 = 1_000;
const LOAD_EVENTS: i64 = 5_000;
/// Two workers try 16 on the common channel, and 16 on the merchant's own in each minute.
const TRIED_MAX: usize = 250;

/// Suspends or resumes the process of the queue's leader.
async fn set_frozen(servers: &Servers, is_frozen: bool) {
    let function = if is_frozen { "suspend" } else { "resume" };
    let call = format!("sys:{function}('%2F_{FROZEN_QUEUE}').");
    assert_eq!(servers.rabbitmqctl(&["eval", &call]).await.trim(), "ok");
}

async fn wait_until_published(world: &World, shop: &Shop) {
    eventually("the shop's events", async || (world.outbox_count(shop).await == 0).then_some(()))
        .await;
}

async fn pay_new_order(world: &World, shop: &Shop) -> String {
    let number = Shop::number();
    world.create_payable(&shop.order(&number, 9900)).await;
    world.pay(shop, &number, &PayOptions::default());
    number
}

#[tokio::test]
async fn shop_at_full_load_is_undisturbed_by_frozen_queue() {
    let servers = Servers::start().await;
    let amqp_text = servers.url(Server::RabbitMq).to_string();
    let options = Options { amqp_text: Some(amqp_text), workers: Some(2), ..Options::default() };
    let world = World::start_with(options).await;
    let frozen = world.md5_shop();
    let busy = world.hmac_shop();
    let amqp = Amqp::connect(&world.environment).await;
    amqp.quorum_queue(FROZEN_QUEUE, &format!("#.{}", frozen.mch_id)).await;

    set_frozen(&servers, true).await;
    let waiting = pay_new_order(&world, &frozen).await;
    world.store_unpublished_events(&frozen, "frozen", FROZEN_EVENTS).await;
    // The workers have tried what they may.
    eventually("an event without a confirm in time", async || {
        let attempts = world.outbox_attempts(&waiting).await;
        attempts.iter().any(|row| row.attempts > 0).then_some(())
    })
    .await;
    let first = pay_new_order(&world, &busy).await;
    world.store_unpublished_events(&busy, "busy", LOAD_EVENTS).await;
    let second = pay_new_order(&world, &busy).await;
    world.expect_events(&first, &EVENTS).await;
    world.expect_events(&second, &EVENTS).await;
    wait_until_published(&world, &busy).await;

    // All that is still so: not one event of the frozen queue is confirmed.
    let all = FROZEN_EVENTS + EVENTS.len() as i64;
    assert_eq!(world.outbox_count(&frozen).await, all);
    let mut tried = world.events.numbers_with_prefix("frozen");
    tried.sort_unstable();
    tried.dedup();
    assert!(tried.len() <= TRIED_MAX, "{}", tried.len());

    set_frozen(&servers, false).await;
    wait_until_published(&world, &frozen).await;
    world.expect_events(&waiting, &EVENTS).await;
    amqp.delete(FROZEN_QUEUE).await;
    amqp.close().await;
    world.finish().await;
}

#[tokio::test]
async fn worker_stops_in_time_beside_frozen_queue() {
    let servers = Servers::start().await;
    let amqp_text = servers.url(Server::RabbitMq).to_string();
    let options = Options { amqp_text: Some(amqp_text), ..Options::default() };
    let mut world = World::start_with(options).await;
    world.stop_workers().await;
    let frozen = world.md5_shop();
    let busy = world.hmac_shop();
    let amqp = Amqp::connect(&world.environment).await;
    amqp.quorum_queue(FROZEN_QUEUE, &format!("#.{}", frozen.mch_id)).await;
    let program = Program::of(&world);
    let worker = program.start_worker(&world).await;

    set_frozen(&servers, true).await;
    let waiting = pay_new_order(&world, &frozen).await;
    let told = pay_new_order(&world, &busy).await;
    world.expect_events(&told, &EVENTS).await;
    let name = |shop: &Shop| format!("wxpay_outbox_waiting{{mch_id=\"{}\"}}", shop.mch_id);
    eventually("the merchant's name in a metric", async || {
        (worker.metric(&world, &name(&frozen)).await == Some(3.0)).then_some(())
    })
    .await;
    assert_eq!(worker.metric(&world, &name(&busy)).await, None);
    let log = worker.stop().await;
    assert!(!log.contains("events stay in the outbox; the next worker"), "{log}");
    assert_eq!(world.outbox_count(&frozen).await, 3);

    set_frozen(&servers, false).await;
    world.add_worker().await;
    world.expect_events(&waiting, &EVENTS).await;
    wait_until_published(&world, &frozen).await;
    amqp.delete(FROZEN_QUEUE).await;
    amqp.close().await;
    world.finish().await;
}
