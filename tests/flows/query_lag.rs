//! Queries that lag behind a payment or report a failed attempt: they decide nothing, and the payment
//! is booked when a query finds it.

use harness::{Options, Shop, World, fast_schedule};
use reqwest::StatusCode;
use simulator::{Api, Fault, PayOptions};

const PAID: [&str; 3] = ["order.created", "order.payable", "order.paid"];

async fn world() -> World {
    World::start_with(Options { schedule: Some(fast_schedule()), ..Options::default() }).await
}

fn without_notification() -> PayOptions {
    PayOptions { state_only: true, ..PayOptions::default() }
}

#[tokio::test]
async fn query_lagging_behind_payment_is_repeated() {
    let world = world().await;
    let shop = world.md5_shop();
    let number = Shop::number();
    world.create_payable(&shop.order(&number, 9900)).await;
    world.inject_fault(Api::Orderquery, &number, Fault::Lag, 3);
    world.pay(&shop, &number, &without_notification());
    world.expect_events(&number, &PAID).await;
    assert!(world.calls(&shop, &number).orderquery >= 4);
    assert_eq!(world.exception_kinds(&number).await, [""; 0]);
    world.finish().await;
}

#[tokio::test]
async fn payerror_does_not_end_order() {
    let world = world().await;
    let shop = world.md5_shop();
    let number = Shop::number();
    world.inject_fault(Api::Orderquery, &number, Fault::PayError, 3);
    world.create_payable(&shop.order(&number, 9900)).await;
    harness::eventually("three checks after the failed attempt", async || {
        (world.calls(&shop, &number).orderquery >= 3).then_some(())
    })
    .await;
    assert_eq!(world.order_state(&shop, &number).await.unwrap(), "payable");
    world.pay(&shop, &number, &PayOptions::default());
    world.expect_events(&number, &PAID).await;
    assert_eq!(world.exception_kinds(&number).await, [""; 0]);
    world.finish().await;
}

/// The query before closeorder answers NOTPAY, closeorder answers ORDERPAID.
#[tokio::test]
async fn close_with_lagging_query_ends_paid() {
    let world = world().await;
    let shop = world.md5_shop();
    let number = Shop::number();
    world.create_payable(&shop.order(&number, 9900)).await;
    world.inject_fault(Api::Orderquery, &number, Fault::Lag, 1_000);
    world.pay(&shop, &number, &without_notification());
    let (status, view) = world.close(&shop.mch_id, &number, Some(20)).await;
    assert_eq!(status, StatusCode::OK, "{view}");
    harness::eventually("two refused closeorder calls", async || {
        (world.calls(&shop, &number).closeorder >= 2).then_some(())
    })
    .await;
    assert_eq!(world.order_state(&shop, &number).await.unwrap(), "closing");
    world.simulator.set_faults(simulator::FaultPlan::default()).unwrap();
    world
        .expect_events(&number, &["order.created", "order.payable", "order.closing", "order.paid"])
        .await;
    world.finish().await;
}
