//! Payments around a close: how they are found and booked, and when they are late.

use std::time::Duration;

use harness::{Shop, World};
use simulator::{Api, Fault, HeldCallFilter, PayOptions};
use worker::CheckSchedule;

use super::{
    CLOSED, create_payable_order, expect_no_exceptions, is_due_at, request_close,
    schedule_without_waits, without_notification, world_with,
};

/// A schedule in which a closing order stays closing.
fn schedule_without_closes() -> CheckSchedule {
    CheckSchedule { close_age_min: Duration::from_secs(3600), ..schedule_without_waits() }
}

/// An order that is closed here and at WeChat.
async fn create_closed_order(world: &World, shop: &Shop) -> String {
    let number = create_payable_order(world, shop).await;
    request_close(world, shop, &number).await;
    world.expect_events(&number, &CLOSED).await;
    number
}

#[tokio::test]
async fn payment_between_query_and_close_is_found() {
    let world = world_with(schedule_without_waits()).await;
    let shop = world.md5_shop();
    let number = create_payable_order(&world, &shop).await;
    world.inject_fault(Api::Closeorder, &number, Fault::Hold, 1);
    request_close(&world, &shop, &number).await;
    world.wait_for_held_calls(1).await;
    world.pay(&shop, &number, &without_notification());
    world.simulator.release(&HeldCallFilter::default());
    world.wait_for_state(&shop, &number, "paid").await;
    let outcomes = &world.simulator.request_counts().apis[&Api::Closeorder];
    assert_eq!(outcomes.keys().collect::<Vec<_>>(), ["ORDERPAID"]);
    world
        .expect_events(&number, &["order.created", "order.payable", "order.closing", "order.paid"])
        .await;
    assert_eq!(world.transition_labels(&number).await[3], "paid by query");
    // WeChat's times have whole seconds: the payment may be in the second of the decision.
    let found = world.exception_kinds(&number).await;
    assert!(found.is_empty() || found == ["late_payment"], "{found:?}");
    world.finish().await;
}

#[tokio::test]
async fn only_payment_after_close_decision_is_late() {
    let world = world_with(schedule_without_closes()).await;
    let shop = world.hmac_shop();
    for late in [false, true] {
        let number = create_payable_order(&world, &shop).await;
        let unsent =
            (!late).then(|| world.unsent_notification(&shop, &number, PayOptions::default()));
        request_close(&world, &shop, &number).await;
        let body = match unsent {
            Some(body) => body,
            None => {
                // WeChat's times have whole seconds.
                world
                    .update_order_row(
                        &number,
                        "closing_since = closing_since - interval '5 seconds'",
                    )
                    .await;
                world.unsent_notification(&shop, &number, PayOptions::default())
            }
        };
        world.notify_ok(&shop.mch_id, &body).await;
        world
            .expect_events(
                &number,
                &["order.created", "order.payable", "order.closing", "order.paid"],
            )
            .await;
        assert_eq!(world.transition_labels(&number).await[3], "paid by notify");
        if late {
            assert_eq!(world.exception_kinds(&number).await, ["late_payment"]);
            let events = world.exception_events(&number, 1).await;
            assert_eq!(events[0]["order"]["state"], "paid", "{}", events[0]);
        } else {
            expect_no_exceptions(&world, &number).await;
        }
        assert_eq!(world.calls(&shop, &number).closeorder, 0);
        assert!(world.select_order::<bool>(&number, "next_check_at is null").await);
    }
    world.finish().await;
}

#[tokio::test]
async fn payment_after_close_is_late() {
    let world = world_with(schedule_without_waits()).await;
    let shop = world.md5_shop();
    let number = create_closed_order(&world, &shop).await;
    world.pay(&shop, &number, &PayOptions { force: true, ..PayOptions::default() });
    let events: Vec<&str> = CLOSED.into_iter().chain(["order.paid"]).collect();
    world.expect_events(&number, &events).await;
    assert_eq!(world.transition_labels(&number).await[4], "paid by notify");
    let events = world.exception_events(&number, 1).await;
    assert_eq!(events[0]["exception"]["kind"], "late_payment");
    assert_eq!(world.exception_kinds(&number).await, ["late_payment"]);
    world.finish().await;
}

#[tokio::test]
async fn last_check_after_close_finds_payment() {
    let events: Vec<&str> = CLOSED.into_iter().chain(["order.paid"]).collect();
    let schedule =
        CheckSchedule { closed_check_delay: Duration::from_secs(60), ..schedule_without_waits() };
    let world = world_with(schedule).await;
    let shop = world.md5_shop();
    let number = create_closed_order(&world, &shop).await;
    assert!(is_due_at(&world, &number, "closed_at + interval '60 s'").await);
    world.pay(&shop, &number, &PayOptions { force: true, ..without_notification() });
    world.check_order_now(&shop, &number).await;
    world.expect_events(&number, &events).await;
    assert_eq!(world.transition_labels(&number).await[4], "paid by query");
    assert_eq!(world.exception_kinds(&number).await, ["late_payment"]);

    // A failed query is repeated: the last check must have an answer.
    let number = create_closed_order(&world, &shop).await;
    world.inject_fault(Api::Orderquery, &number, Fault::Html, 1);
    world.update_order_row(&number, "closed_at = closed_at - interval '60 s'").await;
    world.check_order_now(&shop, &number).await;
    assert!(world.select_order::<bool>(&number, "next_check_at > now()").await);
    world.check_order_now(&shop, &number).await;
    assert!(
        world.select_order::<bool>(&number, "next_check_at is null").await,
        "that was the last check"
    );
    assert_eq!(world.order_state(&shop, &number).await.unwrap(), "closed");
    expect_no_exceptions(&world, &number).await;
    world.finish().await;

    let schedule = CheckSchedule {
        closed_check_delay: Duration::from_millis(1500),
        ..schedule_without_waits()
    };
    let world = world_with(schedule).await;
    let shop = world.md5_shop();
    let number = create_closed_order(&world, &shop).await;
    world.pay(&shop, &number, &PayOptions { force: true, ..without_notification() });
    // The last check happens automatically.
    world.expect_events(&number, &events).await;
    world.finish().await;
}
