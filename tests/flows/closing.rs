//! Closing orders: requests, expiry, closeorder, and payments around a close.

mod closeorder;
mod expiry;
mod payments;
mod requests;

use std::time::Duration;

use harness::{Options, Shop, World};
use simulator::PayOptions;
use worker::{CheckSchedule, PayableChecks};

const CLOSED: [&str; 4] = ["order.created", "order.payable", "order.closing", "order.closed"];

/// A schedule in which nothing waits before its first check and nothing is checked again.
fn schedule_without_waits() -> CheckSchedule {
    let never = Duration::from_secs(3600);
    CheckSchedule {
        close_age_min: Duration::ZERO,
        expiry_grace: Duration::ZERO,
        closed_check_delay: never,
        payable_checks: PayableChecks::Every(never),
        on_demand_pause: never,
        unknown_retry_first: never,
        ..CheckSchedule::default()
    }
}

/// Whether the next check of an order is due at an instant, with up to two seconds of jitter.
async fn is_due_at(world: &World, number: &str, from: &str) -> bool {
    let due = format!("next_check_at between {from} and {from} + interval '2 s'");
    world.select_order(number, &due).await
}

async fn world_with(schedule: CheckSchedule) -> World {
    World::start_with(Options { schedule: Some(schedule), ..Options::default() }).await
}

/// A payment without a notification.
fn without_notification() -> PayOptions {
    PayOptions { state_only: true, ..PayOptions::default() }
}

async fn create_payable_order(world: &World, shop: &Shop) -> String {
    let number = Shop::number();
    world.create_payable(&shop.order(&number, 9900)).await;
    number
}

/// Requests a close as the shop, and expects the order to be closing.
async fn request_close(world: &World, shop: &Shop, number: &str) {
    let (status, view) = world.close(&shop.mch_id, number, Some(20)).await;
    assert_eq!(status.as_u16(), 200, "{view}");
    let state = view["state"].as_str().unwrap();
    assert!(["closing", "closed"].contains(&state), "{view}");
    assert_eq!((view.get("pay"), view.get("prepay_id")), (None, None));
}

async fn expect_no_exceptions(world: &World, number: &str) {
    assert_eq!(world.exception_kinds(number).await, Vec::<String>::new(), "{number}");
}
