//! Workers and front doors that are started before what they need is there, or after it was broken.

use broker::Setup;
use harness::amqp::Amqp;
use harness::{Options, Shop, World, eventually};
use reqwest::StatusCode;
use simulator::PayOptions;
use tokio_util::sync::CancellationToken;

use super::{called_once_each, posted, waits};

#[tokio::test]
async fn worker_started_before_migrations_waits() {
    let world = World::start_with(Options { unmigrated: true, ..Options::default() }).await;
    // The broker and the database are there, and yet it is not ready.
    let not_ready = "not consuming: are the migrations applied?\n";
    let status = eventually("only the migrations to be missing", async || {
        let (status, text) = world.workers[0].readiness(&world.http).await;
        (text == not_ready).then_some(status)
    })
    .await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let shop = world.shop();
    let numbers = posted(&world, &shop, 3).await;
    waits(&world, 3).await;

    worker::migrate(&world.environment.database_url).await.unwrap();
    world.wait_until_workers_ready().await;
    for number in &numbers {
        world.wait_for_state(&shop, number, "payable").await;
    }
    called_once_each(&world, &shop, &numbers);
    world.finish().await;
}

#[tokio::test]
async fn worker_without_topology_waits() {
    let world = World::start_with(Options { undeclared: true, ..Options::default() }).await;
    let namespace = world.environment.namespace.to_string();
    eventually("the worker to miss an exchange", async || {
        let missed = world.logs.containing(&namespace);
        missed.contains("wxpay-worker consume").then_some(())
    })
    .await;
    let (status, text) = world.workers[0].readiness(&world.http).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(text.contains("no broker"), "{text}");
    let shop = world.shop();
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

/// What an operator does who owns the topology.
async fn declare(world: &World) {
    let stop = CancellationToken::new();
    let operator = world.environment.broker_config("test operator");
    let operator = broker::Connection::start(operator, Setup::Declare, stop.clone());
    eventually("the topology", async || operator.is_up().then_some(())).await;
    stop.cancel();
    operator.closed().await;
}

/// The front door opens when it sees where to publish to; by then somebody must be listening there.
#[tokio::test]
async fn order_accepted_during_topology_declaration_is_processed() {
    let mut world = World::start_with(Options { undeclared: true, ..Options::default() }).await;
    world.stop_workers().await;
    let shop = world.shop();
    let number = Shop::number();
    let order = shop.order(&number, 9900);
    let accepted = eventually("the order to be accepted", async || {
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

/// Design 7: nothing is dropped as unroutable; the worker restores what is missing and replays.
#[tokio::test]
async fn worker_restores_topology_and_replays_unrouted() {
    let mut world = World::start().await;
    let shop = world.shop();
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
    eventually("both to be unrouted", async || {
        (amqp.peek_all(&amqp.qualified_name("unrouted")).await.len() == 2).then_some(())
    })
    .await;
    amqp.close().await;

    world.add_worker().await;
    world.wait_for_state(&shop, &number, "payable").await;
    world.wait_for_state(&shop, &paid, "paid").await;
    world.finish().await;
}
