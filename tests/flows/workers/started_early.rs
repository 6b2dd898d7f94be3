//! Workers and ingresses that start before the migrations or the topology exist, or after a queue was
//! deleted.

use broker::Setup;
use harness::amqp::Amqp;
use harness::{Options, Shop, World, eventually};
use reqwest::StatusCode;
use simulator::PayOptions;
use tokio_util::sync::CancellationToken;

use super::{expect_one_call_each, post_orders, wait_for_queued};

#[tokio::test]
async fn worker_started_before_migrations_waits() {
    let world = World::start_with(Options { unmigrated: true, ..Options::default() }).await;
    // The broker and the database run, but the migrations are missing.
    let not_ready = "not consuming: are the migrations applied?\n";
    let status = eventually("a worker without migrations", async || {
        let (status, text) = world.workers[0].readiness(&world.http).await;
        (text == not_ready).then_some(status)
    })
    .await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let shop = world.md5_shop();
    let numbers = post_orders(&world, &shop, 3).await;
    wait_for_queued(&world, 3).await;

    worker::migrate(&world.environment.database_url).await.unwrap();
    world.wait_until_workers_ready().await;
    for number in &numbers {
        world.wait_for_state(&shop, number, "payable").await;
    }
    expect_one_call_each(&world, &shop, &numbers);
    world.finish().await;
}

#[tokio::test]
async fn worker_without_topology_waits() {
    let world = World::start_with(Options { undeclared: true, ..Options::default() }).await;
    let namespace = world.environment.namespace.to_string();
    eventually("a worker without its topology", async || {
        let log = world.logs.containing(&namespace);
        log.contains("wxpay-worker consume").then_some(())
    })
    .await;
    let (status, text) = world.workers[0].readiness(&world.http).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(text.contains("no broker"), "{text}");
    let shop = world.md5_shop();
    let (status, problem) = world.create(&shop.order(&Shop::number(), 9900), None).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{problem}");

    declare(&world).await;
    world.events.wait_until_listening().await;
    world.wait_until_workers_ready().await;
    world.wait_until_ingress_ready().await;
    let number = Shop::number();
    world.create_payable(&shop.order(&number, 9900)).await;
    world.pay(&shop, &number, &PayOptions::default());
    world.wait_for_state(&shop, &number, "paid").await;
    world.finish().await;
}

/// Declares the topology, as an operator does.
async fn declare(world: &World) {
    let stop = CancellationToken::new();
    let operator = world.environment.broker_config("test operator");
    let operator = broker::Connection::start(operator, Setup::Declare, stop.clone());
    eventually("the topology", async || operator.is_up().then_some(())).await;
    stop.cancel();
    operator.closed().await;
}

/// The ingress accepts orders as soon as the exchange exists. The queues must exist by then.
#[tokio::test]
async fn order_accepted_during_topology_declaration_is_processed() {
    let mut world = World::start_with(Options { undeclared: true, ..Options::default() }).await;
    world.stop_workers().await;
    let shop = world.md5_shop();
    let number = Shop::number();
    let order = shop.order(&number, 9900);
    let accepted = eventually("the accepted order", async || {
        let (status, _) = world.create(&order, None).await;
        (status != StatusCode::SERVICE_UNAVAILABLE).then_some(status)
    });
    let (accepted, ()) = tokio::join!(accepted, declare(&world));
    assert_eq!(accepted, StatusCode::ACCEPTED);

    world.events.wait_until_listening().await;
    world.add_worker().await;
    world.wait_for_state(&shop, &number, "payable").await;
    world.finish().await;
}

/// No message is dropped as unroutable. The worker restores the queues and replays the messages.
#[tokio::test]
async fn worker_restores_topology_and_replays_unrouted() {
    let mut world = World::start().await;
    let shop = world.md5_shop();
    let paid = Shop::number();
    let number = Shop::number();
    world.create_payable(&shop.order(&paid, 9900)).await;
    world.stop_workers().await;
    let amqp = Amqp::connect(&world.environment).await;
    for queue in ["orders", "notifications"] {
        amqp.delete(&amqp.qualified_name(queue)).await;
    }
    let (status, _) = world.create(&shop.order(&number, 9900), None).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let notification = world.unsent_notification(&shop, &paid, PayOptions::default());
    world.notify_ok(&shop.mch_id, &notification).await;
    eventually("two unrouted messages", async || {
        (amqp.peek_all(&amqp.qualified_name("unrouted")).await.len() == 2).then_some(())
    })
    .await;
    amqp.close().await;

    world.add_worker().await;
    world.wait_for_state(&shop, &number, "payable").await;
    world.wait_for_state(&shop, &paid, "paid").await;
    world.finish().await;
}
