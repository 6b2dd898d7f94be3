//! From a decision to close until no more money can come, and what comes all the same.

mod closeorder;
mod expiry;
mod payments;
mod requests;

use std::time::Duration;

use harness::{Options, Shop, World};
use simulator::PayOptions;
use worker::CheckSchedule;

const CLOSED: [&str; 4] = ["order.created", "order.payable", "order.closing", "order.closed"];

/// Nothing waits for its time, and nothing is looked at twice by itself.
fn at_once() -> CheckSchedule {
    let never = Duration::from_secs(3600);
    CheckSchedule {
        close_age_min: Duration::ZERO,
        expiry_grace: Duration::ZERO,
        closed_check_delay: never,
        payable_check_interval: never,
        unknown_retry_first: never,
    }
}

/// Whether an order is looked at from an instant on: then, or by chance up to two seconds later.
async fn falls_due(world: &World, number: &str, from: &str) -> bool {
    let due = format!("next_check_at between {from} and {from} + interval '2 s'");
    world.select_order(number, &due).await
}

async fn world_with(schedule: CheckSchedule) -> World {
    World::start_with(Options { schedule: Some(schedule), ..Options::default() }).await
}

fn unpublished() -> PayOptions {
    PayOptions { state_only: true, ..PayOptions::default() }
}

async fn a_payable_order(world: &World, shop: &Shop) -> String {
    let number = Shop::number();
    world.create_payable(&shop.order(&number, 9900)).await;
    number
}

/// Closes it at the shop's wish, and returns when we have decided to.
async fn begins_to_close(world: &World, shop: &Shop, number: &str) {
    let (status, view) = world.close(&shop.mch_id, number, Some(20)).await;
    assert_eq!(status.as_u16(), 200, "{view}");
    let state = view["state"].as_str().unwrap();
    assert!(["closing", "closed"].contains(&state), "{view}");
    assert_eq!((view.get("pay"), view.get("prepay_id")), (None, None));
}

async fn is_untroubled(world: &World, number: &str) {
    assert_eq!(world.exception_kinds(number).await, Vec::<String>::new(), "{number}");
}
