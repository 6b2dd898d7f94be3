//! A question about a payable order causes a check.

use std::time::Duration;

use futures_util::future::join_all;
use harness::{Options, Shop, World, eventually, idle_schedule};
use worker::CheckSchedule;

use super::without_notification;

/// Checks of its own come practically never.
async fn world_with_pause(on_demand_pause: Duration) -> World {
    let schedule = CheckSchedule { on_demand_pause, ..idle_schedule() };
    World::start_with(Options { schedule: Some(schedule), ..Options::default() }).await
}

#[tokio::test]
async fn lost_notification_is_found_when_shop_asks() {
    let world = world_with_pause(Duration::ZERO).await;
    let shop = world.md5_shop();
    let number = Shop::number();
    world.create_payable(&shop.order(&number, 9900)).await;
    world.pay(&shop, &number, &without_notification());
    let (_, view) = world.get(&shop, &number).await;
    assert_eq!(view["state"], "payable", "the answer does not wait for WeChat");
    world.wait_for_state(&shop, &number, "paid").await;
    let history = ["created by shop", "payable by reply", "paid by query"];
    assert_eq!(world.transition_labels(&number).await, history);
    world.finish().await;
}

#[tokio::test]
async fn order_that_many_ask_about_is_queried_once() {
    let world = world_with_pause(Duration::from_secs(3600)).await;
    let shop = world.md5_shop();
    let number = Shop::number();
    world.create_payable(&shop.order(&number, 9900)).await;
    world.update_order_row(&number, "prepay_issued_at = now() - interval '61 minutes'").await;
    world.pay(&shop, &number, &without_notification());
    join_all((0..20).map(|_| world.get(&shop, &number))).await;
    world.wait_for_state(&shop, &number, "paid").await;
    assert_eq!(world.calls(&shop, &number).orderquery, 1);

    // Checks that an exception has stopped, and those that have just been made, stay as they are.
    let stopped = Shop::number();
    world.create_payable(&shop.order(&stopped, 9900)).await;
    let long_ago = "prepay_issued_at = now() - interval '61 minutes'";
    world.update_order_row(&stopped, &format!("{long_ago}, next_check_at = null")).await;
    let checked = Shop::number();
    world.create_payable(&shop.order(&checked, 9900)).await;
    world.update_order_row(&checked, &format!("{long_ago}, checked_at = now()")).await;
    // The answer with the prepay_id is as good as a check.
    let new = Shop::number();
    world.create_payable(&shop.order(&new, 9900)).await;
    let refused = [&stopped, &checked, &new];
    for number in refused {
        join_all((0..20).map(|_| world.get(&shop, number))).await;
    }
    // The question about this one comes after all others.
    let last = Shop::number();
    world.create_payable(&shop.order(&last, 9900)).await;
    world.update_order_row(&last, long_ago).await;
    world.get(&shop, &last).await;
    eventually("a query of the last", async || {
        (world.calls(&shop, &last).orderquery == 1).then_some(())
    })
    .await;
    for number in refused {
        assert_eq!(world.calls(&shop, number).orderquery, 0, "{number}");
    }
    world.finish().await;
}
