//! Orders whose outcome stays unknown become unsettled.

use std::time::Duration;

use harness::{Options, Shop, World};
use serde_json::json;
use simulator::{Api, Fault, PayOptions};
use worker::{CheckSchedule, PayableChecks};

use super::{EVENTS, PAYABLE, expect_no_exceptions, refusal, without_notification};

/// A schedule with pauses of minutes, so that a test sees each pause.
fn schedule_of_minutes() -> CheckSchedule {
    let minute = Duration::from_secs(60);
    CheckSchedule {
        unknown_retry_first: minute,
        payable_checks: PayableChecks::Every(minute * 60),
        on_demand_pause: minute * 60,
        ..CheckSchedule::default()
    }
}

async fn pause(world: &World, number: &str) -> f64 {
    world.select_order(number, "extract(epoch from next_check_at - now())::float8").await
}

/// Expects one open exception with one event.
async fn expect_unsettled(world: &World, number: &str) {
    let events = world.exception_events(number, 1).await;
    assert_eq!(events[0]["exception"]["kind"], "unsettled");
    assert_eq!(events[0]["order"]["exceptions"][0]["kind"], "unsettled", "{}", events[0]);
    assert_eq!(world.exception_kinds(number).await, ["unsettled"]);
}

#[tokio::test]
async fn repeated_communication_failure_is_unsettled() {
    let world =
        World::start_with(Options { schedule: Some(schedule_of_minutes()), ..Options::default() })
            .await;
    let shop = world.md5_shop();
    let number = Shop::number();
    let text = "body参数格式错误";
    world.inject_fault(Api::Unifiedorder, &number, Fault::ReturnFail(text.to_owned()), 7);
    let (status, _) = world.create(&shop.order(&number, 9900), Some(20)).await;
    assert_eq!(status.as_u16(), 202);
    let mut pauses = vec![pause(&world, &number).await];
    for _ in 2..=5 {
        expect_no_exceptions(&world, &number).await;
        world.check_order_now(&shop, &number).await;
        pauses.push(pause(&world, &number).await);
    }
    assert!(pauses.is_sorted_by(|a, b| a < b), "pauses must grow: {pauses:?}");
    assert!(pauses[4] > 20.0 * 60.0, "{pauses:?}");
    expect_unsettled(&world, &number).await;
    let (_, view) = world.get(&shop, &number).await;
    assert_eq!(view["state"], "created");
    assert!(view["gateway_message"].as_str().unwrap().contains(text), "{view}");
    assert_eq!(view["exceptions"][0]["kind"], "unsettled", "{view}");

    for _ in 6..=7 {
        world.check_order_now(&shop, &number).await;
        assert!(pause(&world, &number).await > 20.0 * 60.0);
        expect_unsettled(&world, &number).await;
    }
    // WeChat accepts the body now.
    world.check_order_now(&shop, &number).await;
    world.expect_events(&number, &EVENTS[..2]).await;
    let open = "select count(*) from exceptions where resolved_at is null";
    let open: i64 = sqlx::query_scalar(open).fetch_one(&world.environment.pool).await.unwrap();
    assert_eq!(open, 0, "a transition resolves the exception");
    let (_, view) = world.get(&shop, &number).await;
    assert_eq!((&view["exceptions"], view.get("gateway_message")), (&json!([]), None));
    world.pay(&shop, &number, &PayOptions::default());
    world.expect_events(&number, &EVENTS).await;
    world.finish().await;
}

#[tokio::test]
async fn order_that_never_gets_answer_is_unsettled() {
    let world =
        World::start_with(Options { schedule: Some(schedule_of_minutes()), ..Options::default() })
            .await;
    let shop = world.md5_shop();
    let number = Shop::number();
    world.create_payable(&shop.order(&number, 9900)).await;
    world.pay(&shop, &number, &without_notification());
    // An answer in between resets the count.
    world.inject_fault(Api::Orderquery, &number, Fault::Status5xx, 3);
    world.inject_fault(Api::Orderquery, &number, refusal("ORDERNOTEXIST", "order not exist"), 1);
    world.inject_fault(Api::Orderquery, &number, Fault::Html, 6);
    world.inject_fault(Api::Orderquery, &number, Fault::BadSignature, 6);
    for _ in 0..15 {
        world.check_order_now(&shop, &number).await;
        assert_eq!(world.transition_labels(&number).await, PAYABLE);
        expect_no_exceptions(&world, &number).await;
        assert!(pause(&world, &number).await < 3961.0);
    }
    world.check_order_now(&shop, &number).await;
    expect_unsettled(&world, &number).await;
    assert!(pause(&world, &number).await > 20.0 * 60.0);
    world.check_order_now(&shop, &number).await;
    world.expect_events(&number, &EVENTS).await;
    let resolution = "select resolution from exceptions";
    let resolution: Option<String> =
        sqlx::query_scalar(resolution).fetch_one(&world.environment.pool).await.unwrap();
    assert!(resolution.is_some());
    world.finish().await;
}
