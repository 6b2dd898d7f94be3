//! Orders that expire are closed.

use harness::{Shop, World, eventually, fast_schedule};
use simulator::{Api, Fault};

use super::{
    CLOSED, create_payable_order, expect_no_exceptions, is_due_at, without_notification, world_with,
};

#[tokio::test]
async fn expired_order_is_closed_automatically() {
    let world = world_with(fast_schedule()).await;
    let shop = world.md5_shop();
    let number = create_payable_order(&world, &shop).await;
    world.update_order_row(&number, "time_expire = now() - interval '1 s'").await;
    world.expect_events(&number, &CLOSED).await;
    assert_eq!(
        world.transition_labels(&number).await[2..],
        ["closing by query".to_owned(), "closed by reply".to_owned()]
    );
    expect_no_exceptions(&world, &number).await;

    // Paid before the expiry, without a notification.
    let number = Shop::number();
    world.inject_fault(Api::Orderquery, &number, Fault::SystemError, 1000);
    world.create_payable(&shop.order(&number, 9900)).await;
    world.pay(&shop, &number, &without_notification());
    world.update_order_row(&number, "time_expire = now() - interval '1 s'").await;
    world.simulator.set_faults(simulator::FaultPlan::default()).unwrap();
    world.wait_for_state(&shop, &number, "paid").await;
    expect_no_exceptions(&world, &number).await;
    world.finish().await;
}

#[tokio::test]
async fn payment_page_open_at_expiry_has_grace_period() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let number = create_payable_order(&world, &shop).await;
    world
        .update_order_row(&number, "time_expire = date_trunc('second', now()) - interval '5 s'")
        .await;
    world.check_order_now(&shop, &number).await;
    assert_eq!(world.order_state(&shop, &number).await.unwrap(), "payable");
    assert!(is_due_at(&world, &number, "time_expire + interval '60 s'").await);
    world.update_order_row(&number, "time_expire = time_expire - interval '60 s'").await;
    world.check_order_now(&shop, &number).await;
    assert_eq!(world.order_state(&shop, &number).await.unwrap(), "closing");
    world.finish().await;
}

#[tokio::test]
async fn unknown_order_is_closed_near_its_expiry() {
    let world = world_with(fast_schedule()).await;
    let shop = world.md5_shop();
    for fault in [Fault::SystemError, Fault::SystemErrorAfterCommit] {
        let number = Shop::number();
        // The outcome may stay unknown.
        world.inject_fault(Api::Unifiedorder, &number, fault, 1000);
        let (status, _) = world.create(&shop.order(&number, 9900), None).await;
        assert_eq!(status.as_u16(), 202);
        eventually("a replay", async || {
            (world.calls(&shop, &number).unifiedorder >= 2).then_some(())
        })
        .await;
        world.update_order_row(&number, "time_expire = now() + interval '5 minutes'").await;
        world.expect_events(&number, &["order.created", "order.closing", "order.closed"]).await;
        assert_eq!(world.transition_labels(&number).await[1], "closing by query");
        assert_eq!(world.calls(&shop, &number).closeorder, 1);
        expect_no_exceptions(&world, &number).await;
    }
    world.finish().await;
}
