//! Payments and trade states that a query finds.

use harness::{Shop, World, eventually};
use simulator::{Api, Fault};

use super::{
    EVENTS, FOUND, PAYABLE, create_payable_orders, expect_no_exceptions, without_notification,
    world_with_fast_schedule,
};

#[tokio::test]
async fn unnotified_payments_are_found() {
    let world = world_with_fast_schedule().await;
    let shop = world.md5_shop();
    let numbers = create_payable_orders(&world, &shop, 50).await;
    for number in &numbers {
        world.pay(&shop, number, &without_notification());
    }
    for number in &numbers {
        world.wait_for_state(&shop, number, "paid").await;
        assert_eq!(world.transition_labels(number).await, FOUND);
        world.expect_events(number, &EVENTS).await;
        expect_no_exceptions(&world, number).await;
    }
    world.finish().await;
}

#[tokio::test]
async fn trade_state_refund_means_paid() {
    let world = World::start().await;
    for shop in [world.md5_shop(), world.hmac_shop()] {
        let number = Shop::number();
        world.create_payable(&shop.order(&number, 9900)).await;
        let paid = world.pay(&shop, &number, &without_notification());
        world.simulator.set_state(&shop.mch_id, &number, "REFUND").unwrap();
        world.check_order_now(&shop, &number).await;
        assert_eq!(world.transition_labels(&number).await, FOUND);
        let (_, view) = world.get(&shop, &number).await;
        assert_eq!(view["transaction_id"], paid.transaction_id.as_str());
        expect_no_exceptions(&world, &number).await;
        // A paid order is not checked again.
        assert!(world.select_order::<bool>(&number, "next_check_at is null").await);
    }
    world.finish().await;
}

#[tokio::test]
async fn undecided_trade_state_moves_nothing() {
    let world = World::start().await;
    let shop = world.md5_shop();
    for trade_state in ["NOTPAY", "USERPAYING", "ACCEPT", "PAYERROR", "STATE_OF_TOMORROW"] {
        let number = Shop::number();
        world.create_payable(&shop.order(&number, 9900)).await;
        world.simulator.set_state(&shop.mch_id, &number, trade_state).unwrap();
        let ledger = world.ledger_rows().await;
        world.check_order_now(&shop, &number).await;
        assert_eq!(world.ledger_rows().await, ledger, "{trade_state}");
        assert!(
            world.select_order::<bool>(&number, "next_check_at > now()").await,
            "{trade_state}"
        );
        expect_no_exceptions(&world, &number).await;

        world.pay(&shop, &number, &without_notification());
        world.check_order_now(&shop, &number).await;
        assert_eq!(world.transition_labels(&number).await, FOUND, "{trade_state}");
    }
    world.finish().await;
}

#[tokio::test]
async fn trade_state_closed_closes_order() {
    let world = World::start().await;
    let shop = world.md5_shop();
    for trade_state in ["CLOSED", "REVOKED"] {
        let number = Shop::number();
        world.create_payable(&shop.order(&number, 9900)).await;
        world.simulator.set_state(&shop.mch_id, &number, trade_state).unwrap();
        world.check_order_now(&shop, &number).await;
        world.expect_events(&number, &["order.created", "order.payable", "order.closed"]).await;

        let unknown = Shop::number();
        world.inject_fault(Api::Unifiedorder, &unknown, Fault::DropAfterCommit, 1);
        let (status, _) = world.create(&shop.order(&unknown, 9900), Some(20)).await;
        assert_eq!(status.as_u16(), 202);
        world.simulator.set_state(&shop.mch_id, &unknown, trade_state).unwrap();
        world.check_order_now(&shop, &unknown).await;
        world.expect_events(&unknown, &["order.created", "order.closed"]).await;
        assert_eq!(
            world.calls(&shop, &unknown).unifiedorder,
            1,
            "an unusable number is not called again"
        );
        assert_eq!(world.calls(&shop, &unknown).closeorder, 0);
    }
    world.finish().await;
}

#[tokio::test]
async fn confirmed_other_amount_stops_checks() {
    let world = world_with_fast_schedule().await;
    let shop = world.md5_shop();
    let number = Shop::number();
    world.inject_fault(Api::Orderquery, &number, Fault::SystemError, 1000);
    world.create_payable(&shop.order(&number, 9900)).await;
    world.update_order_row(&number, "request = jsonb_set(request, '{total_fee}', '9901')").await;
    world.pay(&shop, &number, &without_notification());
    world.simulator.set_faults(simulator::FaultPlan::default()).unwrap();

    let events = world.exception_events(&number, 1).await;
    assert_eq!(events[0]["exception"]["kind"], "amount_mismatch");
    let differs = events[0]["exception"]["differs"].to_string();
    assert!(differs.contains("9901") && differs.contains("9900"), "{differs}");
    eventually("the end of the checks", async || {
        let stopped = "next_check_at is null and call_lease_until is null";
        world.select_order::<bool>(&number, stopped).await.then_some(())
    })
    .await;
    assert_eq!(world.transition_labels(&number).await, PAYABLE);
    let before = world.calls(&shop, &number).orderquery;

    // Another order is checked many times, this one never.
    let other = Shop::number();
    world.create_payable(&shop.order(&other, 9900)).await;
    eventually("checks of another order", async || {
        (world.calls(&shop, &other).orderquery >= 3).then_some(())
    })
    .await;
    assert_eq!(world.calls(&shop, &number).orderquery, before);
    assert_eq!(world.exception_kinds(&number).await, ["amount_mismatch"]);
    world.finish().await;
}
