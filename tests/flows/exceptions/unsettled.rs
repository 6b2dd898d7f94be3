//! Orders without a known outcome.

use harness::{Shop, World, eventually};
use serde_json::json;
use simulator::{Fault, FaultPlan, PayOptions, PlannedFault};

use super::{Row4, expect_open_exception, fast_options, resolve, rows};

/// Makes the next unifiedorder calls fail with the same text.
fn fail_unifiedorder(world: &World, times: u32) {
    let failing = PlannedFault::new(Fault::ReturnFail("系统繁忙".to_owned()), times);
    let plan = FaultPlan { unifiedorder: vec![failing], ..FaultPlan::default() };
    world.simulator.set_faults(plan).unwrap();
}

#[tokio::test]
async fn order_without_answer_is_unsettled_until_requery() {
    let world = World::start_with(fast_options()).await;
    let shop = world.md5_shop();
    fail_unifiedorder(&world, 5);
    let number = Shop::number();
    let (status, view) = world.create(&shop.order(&number, 9900), Some(20)).await;
    assert_eq!((status.as_u16(), &view["state"]), (202, &json!("created")), "{view}");
    assert!(view["gateway_message"].as_str().unwrap().contains("系统繁忙"), "{view}");

    eventually("unsettled", async || {
        let open = world.exception_kinds(&number).await;
        (open == ["unsettled"]).then_some(())
    })
    .await;
    expect_open_exception(&world, &shop, &number, "unsettled", "").await;
    assert_eq!(world.order_state(&shop, &number).await.as_deref(), Some("created"));
    assert_eq!(world.simulator.calls(&shop.mch_id, &number).unifiedorder, 5);

    resolve(&world, &shop, &number, "unsettled").await;
    world.wait_for_state(&shop, &number, "payable").await;
    world.pay(&shop, &number, &PayOptions::default());
    world.wait_for_state(&shop, &number, "paid").await;
    world.exception_events(&number, 1).await;
    world.finish().await;
}

/// A late outcome resolves the exception.
#[tokio::test]
async fn unsettled_order_that_moves_is_resolved() {
    let world = World::start_with(fast_options()).await;
    let shop = world.md5_shop();
    fail_unifiedorder(&world, 5);
    let number = Shop::number();
    world.create(&shop.order(&number, 9900), None).await;
    world.exception_events(&number, 1).await;
    // The shop repeats the order.
    let view = world.create_payable(&shop.order(&number, 9900)).await;
    assert_eq!(view["exceptions"], json!([]), "{view}");
    let row: Row4 = ("unsettled".to_owned(), String::new(), 1, false);
    assert_eq!(rows(&world, &shop, &number).await, [row]);
    world.finish().await;
}

/// Checks of an unsettled order become rare, so the exception must be visible again.
#[tokio::test]
async fn order_unsettled_again_reopens_exception() {
    let world = World::start_with(fast_options()).await;
    let shop = world.md5_shop();
    fail_unifiedorder(&world, 10);
    let number = Shop::number();
    world.create(&shop.order(&number, 9900), None).await;
    world.exception_events(&number, 1).await;
    resolve(&world, &shop, &number, "unsettled").await;
    eventually("ten calls", async || {
        let calls = world.simulator.calls(&shop.mch_id, &number).unifiedorder;
        (calls == 10).then_some(())
    })
    .await;
    // The exception is written after the outcome of the call, which ends the check.
    let reopened: Row4 = ("unsettled".to_owned(), String::new(), 1, true);
    eventually("the exception is open again", async || {
        (rows(&world, &shop, &number).await == [reopened.clone()]).then_some(())
    })
    .await;
    expect_open_exception(&world, &shop, &number, "unsettled", "").await;
    world.finish().await;
}
