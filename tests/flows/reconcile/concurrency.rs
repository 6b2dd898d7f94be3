//! Leases and permits of concurrent checks.

use std::collections::BTreeSet;
use std::time::Duration;

use harness::{Options, Shop, World, eventually};
use serde_json::json;
use simulator::{Api, Fault, HeldCallFilter, PayOptions};
use wechatpay_v2::client::Timeouts;
use worker::GatewayLimits;

use super::{EVENTS, PAYABLE, create_payable_orders, expect_no_exceptions, without_notification};

/// A call timeout longer than a test holds a call, and shorter than the lease.
fn long_calls() -> Option<GatewayLimits> {
    let timeouts = Timeouts { call: Duration::from_secs(20), ..Timeouts::default() };
    Some(GatewayLimits { timeouts, failures_max: u32::MAX, ..GatewayLimits::default() })
}

/// The order numbers of the held calls.
fn held_numbers(world: &World) -> Vec<String> {
    world.simulator.held_calls().into_iter().filter_map(|call| call.out_trade_no).collect()
}

async fn make_all_due(world: &World) {
    let due = "update orders set next_check_at = now()";
    sqlx::query(due).execute(&world.environment.pool).await.unwrap();
}

async fn leases(world: &World) -> i64 {
    let count = "select count(call_lease_until) from orders";
    sqlx::query_scalar(count).fetch_one(&world.environment.pool).await.unwrap()
}

fn queries(world: &World) -> u64 {
    world.simulator.request_counts().apis.get(&Api::Orderquery).map_or(0, |it| it.values().sum())
}

#[tokio::test]
async fn order_is_checked_by_one_worker_at_a_time() {
    let options = Options { workers: Some(3), gateway_limits: long_calls(), ..Options::default() };
    let world = World::start_with(options).await;
    let shop = world.md5_shop();
    let mut numbers = create_payable_orders(&world, &shop, 45).await;
    for number in &numbers {
        world.inject_fault(Api::Orderquery, number, Fault::HoldAfterCommit, 1);
    }
    make_all_due(&world).await;
    world.wait_for_held_calls(45).await;
    assert_eq!(BTreeSet::from_iter(held_numbers(&world)).len(), 45);

    // All orders are due again, and one more. The workers claim only the new one.
    numbers.extend(create_payable_orders(&world, &shop, 1).await);
    world.inject_fault(Api::Orderquery, &numbers[45], Fault::HoldAfterCommit, 1);
    make_all_due(&world).await;
    world.wait_for_held_calls(46).await;
    assert_eq!(queries(&world), 46);
    for number in &numbers {
        assert_eq!(world.calls(&shop, number).orderquery, 1, "{number}");
        world.update_order_row(number, "next_check_at = now() + interval '1 hour'").await;
    }
    world.simulator.release(&HeldCallFilter::default());
    eventually("the release of every lease", async || (leases(&world).await == 0).then_some(()))
        .await;
    for number in &numbers {
        assert_eq!(world.transition_labels(number).await, PAYABLE);
        world.pay(&shop, number, &without_notification());
    }
    make_all_due(&world).await;
    for number in &numbers {
        world.expect_events(number, &EVENTS).await;
        assert_eq!(world.calls(&shop, number).orderquery, 2, "{number}");
    }
    world.finish().await;
}

#[tokio::test]
async fn worker_checks_at_most_its_merchants_permits() {
    /// Half of 32: there are two merchants.
    const PERMITS: usize = 16;
    let options = Options { gateway_limits: long_calls(), ..Options::default() };
    let world = World::start_with(options).await;
    let shop = world.md5_shop();
    let numbers = create_payable_orders(&world, &shop, PERMITS + 8).await;
    for number in &numbers {
        world.inject_fault(Api::Orderquery, number, Fault::HoldAfterCommit, 1);
    }
    make_all_due(&world).await;
    world.wait_for_held_calls(PERMITS).await;
    assert_eq!(leases(&world).await, 16, "a worker claims no more orders than it can check");

    // One check ends and another starts; there is no permit for more.
    let done = held_numbers(&world).remove(0);
    world
        .simulator
        .release(&HeldCallFilter { out_trade_no: Some(done), ..HeldCallFilter::default() });
    eventually("the next query", async || (queries(&world) == 17).then_some(())).await;
    world.wait_for_held_calls(PERMITS).await;
    assert_eq!((leases(&world).await, queries(&world)), (16, 17));
    eventually("the other checks", async || {
        world.simulator.release(&HeldCallFilter::default());
        (queries(&world) >= 24 && leases(&world).await == 0).then_some(())
    })
    .await;
    for number in &numbers {
        assert_eq!(world.transition_labels(number).await, PAYABLE);
    }
    world.finish().await;
}

/// The order is paid while a call for it gets no answer.
#[tokio::test]
async fn check_without_outcome_changes_no_paid_order() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let [queried, created] = [Shop::number(), Shop::number()];
    world.create_payable(&shop.order(&queried, 9900)).await;
    world.inject_fault(Api::Orderquery, &queried, Fault::HoldAfterCommit, 1);
    world.inject_fault(Api::Unifiedorder, &created, Fault::HoldAfterCommit, 1);
    world.create(&shop.order(&created, 9900), None).await;
    world.update_order_row(&queried, "next_check_at = now()").await;
    world.wait_for_held_calls(2).await;
    for number in [&queried, &created] {
        world.pay(&shop, number, &PayOptions::default());
        world.wait_for_state(&shop, number, "paid").await;
    }
    // The held calls are never released; the worker gives them up.
    eventually("the end of the calls", async || (leases(&world).await == 0).then_some(())).await;
    for number in [&queried, &created] {
        let (_, view) = world.get(&shop, number).await;
        assert_eq!((&view["state"], view.get("gateway_message")), (&json!("paid"), None));
        assert!(
            world.select_order::<bool>(number, "next_check_at is null").await,
            "a paid order is not checked"
        );
        expect_no_exceptions(&world, number).await;
    }
    world.finish().await;
}
