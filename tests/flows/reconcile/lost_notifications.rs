//! A merchant whose notifications do not arrive.

use std::time::Duration;

use harness::{Options, Shop, World, idle_schedule};
use worker::{CheckSchedule, PayableChecks};

use super::{FOUND, create_payable_orders, without_notification};

/// No order is checked within a test unless its merchant's notifications are lost.
fn schedule() -> CheckSchedule {
    CheckSchedule {
        payable_checks: PayableChecks::AtAges(vec![Duration::from_secs(600)]),
        lost_after: Duration::from_secs(3),
        lost_check_interval: Duration::from_millis(200),
        ..idle_schedule()
    }
}

fn pay_unnoticed(world: &World, shop: &Shop, numbers: &[String]) {
    for number in numbers {
        world.pay(shop, number, &without_notification());
    }
}

#[tokio::test]
async fn payments_are_found_while_notifications_are_lost() {
    let world =
        World::start_with(Options { schedule: Some(schedule()), ..Options::default() }).await;
    let shop = world.md5_shop();
    let numbers = create_payable_orders(&world, &shop, 4).await;
    pay_unnoticed(&world, &shop, &numbers);
    for number in &numbers[..2] {
        world.update_order_row(number, "next_check_at = now()").await;
    }
    // Two are found before their notifications are late, and the others because of them.
    for number in &numbers {
        world.wait_for_state(&shop, number, "paid").await;
        assert_eq!(world.transition_labels(number).await, FOUND);
        assert_eq!(world.calls(&shop, number).orderquery, 1);
    }
    world.finish().await;
}
