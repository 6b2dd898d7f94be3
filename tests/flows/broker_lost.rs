//! RabbitMQ loses all its data. Everything in Postgres continues automatically; shops repeat orders that
//! only the broker had, and queries find lost notifications.

use std::collections::HashSet;
use std::time::Duration;

use harness::amqp::Amqp;
use harness::environment::with_address;
use harness::program::Program;
use harness::proxy::Proxy;
use harness::servers::{Server, Servers};
use harness::{Options, Shop, World, eventually};
use reqwest::StatusCode;
use serde_json::Value;
use simulator::{Api, AttemptOutcome, Fault, FaultPlan, PayOptions};
use worker::{CheckSchedule, PayableChecks};

const EVENTS: [&str; 3] = ["order.created", "order.payable", "order.paid"];
/// More calls than a test makes.
const ALWAYS: u32 = 1_000_000;

fn schedule() -> CheckSchedule {
    CheckSchedule {
        close_age_min: Duration::ZERO,
        expiry_grace: Duration::ZERO,
        closed_check_delay: Duration::from_millis(300),
        payable_checks: PayableChecks::Every(Duration::from_secs(1)),
        on_demand_pause: Duration::from_secs(3600),
        unknown_retry_first: Duration::from_millis(500),
        ..CheckSchedule::default()
    }
}

async fn create_payable_order(world: &World, shop: &Shop) -> String {
    let number = Shop::number();
    world.create_payable(&shop.order(&number, 9900)).await;
    number
}

/// Waits until a notification was answered with `SUCCESS`.
async fn wait_for_answered_notification(world: &World, shop: &Shop, number: &str) {
    eventually("an answer to the notification", async || {
        let notifications = world.simulator.notifications(&shop.mch_id, number);
        let mut attempts = notifications.iter().flat_map(|it| &it.attempts);
        attempts.any(|attempt| attempt.outcome == AttemptOutcome::Success).then_some(())
    })
    .await;
}

/// The event ids of an order's transitions.
async fn stored_event_ids(world: &World, number: &str) -> HashSet<String> {
    let ids = "select event_id::text from order_transitions where out_trade_no = $1";
    let ids: Vec<String> =
        sqlx::query_scalar(ids).bind(number).fetch_all(&world.environment.pool).await.unwrap();
    ids.into_iter().collect()
}

#[tokio::test]
async fn broker_that_lost_its_data_costs_no_order() {
    let servers = Servers::start().await;
    let proxy = Proxy::to(servers.address(Server::RabbitMq), true).await;
    let amqp_text = with_address(servers.url(Server::RabbitMq), proxy.address).to_string();
    let mut world = World::start_with(Options {
        workers: Some(2),
        amqp_text: Some(amqp_text),
        schedule: Some(schedule()),
        ..Options::default()
    })
    .await;
    let shop = world.md5_shop();
    let started_at = world.database_time().await;

    // A paid order, and one in each state that is not final.
    let done = create_payable_order(&world, &shop).await;
    world.pay(&shop, &done, &PayOptions::default());
    world.expect_events(&done, &EVENTS).await;
    let notified = create_payable_order(&world, &shop).await;
    let found = create_payable_order(&world, &shop).await;
    let closing = create_payable_order(&world, &shop).await;
    world.inject_fault(Api::Closeorder, &closing, Fault::SystemError, ALWAYS);
    let (status, view) = world.close(&shop.mch_id, &closing, Some(20)).await;
    assert_eq!((status, &view["state"]), (StatusCode::OK, &Value::from("closing")));
    let created = Shop::number();
    world.inject_fault(Api::Unifiedorder, &created, Fault::SystemErrorAfterCommit, ALWAYS);
    let (status, view) = world.create(&shop.order(&created, 9900), Some(20)).await;
    assert_eq!((status, &view["state"]), (StatusCode::ACCEPTED, &Value::from("created")));

    // Only the broker has an answered notification and an accepted order.
    world.stop_workers().await;
    world.pay(&shop, &notified, &PayOptions::default());
    wait_for_answered_notification(&world, &shop, &notified).await;
    let accepted = shop.order(&Shop::number(), 9900);
    let accepted_number = accepted["out_trade_no"].as_str().unwrap();
    assert_eq!(world.create(&accepted, None).await.0, StatusCode::ACCEPTED);

    servers.delete_broker_data().await;
    world.expect_lost_notifications();
    // Workers without a broker still query WeChat, and keep their events in the outbox.
    for _ in 0..2 {
        world.spawn_worker();
    }
    world.pay(&shop, &found, &PayOptions { state_only: true, ..PayOptions::default() });
    world.wait_for_state(&shop, &found, "paid").await;
    world.wait_for_state(&shop, &notified, "paid").await;
    let unpublished: i64 =
        sqlx::query_scalar("select count(*) from outbox where out_trade_no = $1")
            .bind(&found)
            .fetch_one(&world.environment.pool)
            .await
            .unwrap();
    assert_eq!(unpublished, 1, "the event waits for the broker");

    let before = world.events.connections();
    world.simulator.set_faults(FaultPlan::default()).unwrap();
    servers.up().await;
    proxy.set_target(servers.address(Server::RabbitMq));
    world.wait_until_workers_ready().await;
    world.wait_until_ingress_ready().await;
    world.events.wait_until_reconnected(before).await;

    // Every order in Postgres continues automatically.
    world.wait_for_state(&shop, &created, "payable").await;
    world.wait_for_state(&shop, &closing, "closed").await;
    world.pay(&shop, &created, &PayOptions::default());
    world.wait_for_state(&shop, &created, "paid").await;
    // The accepted order is lost, and the shop sees that.
    assert_eq!(world.get(&shop, accepted_number).await.0, StatusCode::NOT_FOUND);
    world.create_payable(&accepted).await;

    // The shops' queues are lost, too. An operator publishes their events again.
    let amqp = Amqp::connect(&world.environment).await;
    let mut again = amqp.events(&format!("order.*.{}", shop.mch_id)).await;
    let program = Program::of(&world);
    world.wait_until_idle().await;
    let output = program.run_ok(&world, &["events", "replay", "--since", &started_at]).await;
    assert!(output.ends_with("stored events are sent again\n"), "{output}");
    let mut missing = HashSet::new();
    for number in [&done, &notified, &found, &closing, &created] {
        missing.extend(stored_event_ids(&world, number).await);
    }
    while !missing.is_empty() {
        let event = again.next_json().await;
        missing.remove(event["id"].as_str().unwrap());
    }
    amqp.close().await;
    world.finish().await;
}
