//! When closeorder is called, and what its outcomes mean.

use std::time::Duration;

use futures_util::future::join_all;
use harness::{Options, Shop, World, eventually, fast_schedule};
use simulator::{Api, Fault, HeldCallFilter};
use worker::CheckSchedule;

use super::{
    CLOSED, create_payable_order, expect_no_exceptions, is_due_at, request_close,
    schedule_without_waits, without_notification, world_with,
};

fn refusal(err_code: &str) -> Fault {
    Fault::ErrCode { err_code: err_code.to_owned(), err_code_des: "不能关单".to_owned() }
}

#[tokio::test]
async fn closeorder_waits_for_query_answer() {
    let world = world_with(schedule_without_waits()).await;
    let shop = world.md5_shop();
    let number = create_payable_order(&world, &shop).await;
    world.inject_fault(Api::Orderquery, &number, Fault::HoldAfterCommit, 1);
    request_close(&world, &shop, &number).await;
    world.wait_for_held_calls(1).await;
    assert_eq!(world.calls(&shop, &number).closeorder, 0);
    world.simulator.release(&HeldCallFilter::default());
    world.expect_events(&number, &CLOSED).await;
    assert_eq!(world.calls(&shop, &number).closeorder, 1);

    // The query finds the order paid, so closeorder is never called.
    let number = create_payable_order(&world, &shop).await;
    world.pay(&shop, &number, &without_notification());
    request_close(&world, &shop, &number).await;
    world.wait_for_state(&shop, &number, "paid").await;
    assert_eq!(world.calls(&shop, &number).closeorder, 0);
    expect_no_exceptions(&world, &number).await;
    world.finish().await;
}

#[tokio::test]
async fn order_is_not_closed_before_minimum_age() {
    let schedule =
        CheckSchedule { close_age_min: Duration::from_secs(3), ..schedule_without_waits() };
    let options = Options {
        schedule: Some(schedule),
        gateway_close_age_min: Some(Duration::from_secs(1)),
        ..Options::default()
    };
    let world = World::start_with(options).await;
    let shop = world.md5_shop();
    let number = create_payable_order(&world, &shop).await;
    request_close(&world, &shop, &number).await;
    world.expect_events(&number, &CLOSED).await;
    let outcomes = &world.simulator.request_counts().apis[&Api::Closeorder];
    assert_eq!(outcomes.keys().collect::<Vec<_>>(), ["SUCCESS"]);
    assert!(
        world.select_order::<bool>(&number, "closed_at >= created_at + interval '3 seconds'").await
    );
    world.finish().await;
}

#[tokio::test]
async fn minimum_age_is_counted_from_creation() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let number = create_payable_order(&world, &shop).await;
    request_close(&world, &shop, &number).await;
    let due = "created_at + interval '5 minutes'";
    assert!(is_due_at(&world, &number, due).await);
    // An earlier check does not close it.
    world.check_order_now(&shop, &number).await;
    assert_eq!(world.order_state(&shop, &number).await.unwrap(), "closing");
    assert_eq!(world.calls(&shop, &number).closeorder, 0);
    assert!(is_due_at(&world, &number, due).await);

    world.update_order_row(&number, "created_at = created_at - interval '5 minutes'").await;
    world.check_order_now(&shop, &number).await;
    world.expect_events(&number, &CLOSED).await;
    assert_eq!(world.calls(&shop, &number).closeorder, 1);
    world.finish().await;
}

#[tokio::test]
async fn order_too_young_for_wechat_is_closed_later() {
    let options = Options {
        schedule: Some(CheckSchedule { close_age_min: Duration::ZERO, ..fast_schedule() }),
        gateway_close_age_min: Some(Duration::from_secs(1)),
        ..Options::default()
    };
    let world = World::start_with(options).await;
    let shop = world.md5_shop();
    let number = create_payable_order(&world, &shop).await;
    request_close(&world, &shop, &number).await;
    world.expect_events(&number, &CLOSED).await;
    let outcomes = &world.simulator.request_counts().apis[&Api::Closeorder];
    assert_eq!(outcomes["SUCCESS"], 1, "{outcomes:?}");
    expect_no_exceptions(&world, &number).await;
    world.finish().await;
}

#[tokio::test]
async fn close_with_unknown_outcome_is_repeated() {
    let world = world_with(schedule_without_waits()).await;
    let cases = [
        (Fault::DropBefore, false),
        (Fault::DropAfterCommit, true),
        (Fault::SystemError, false),
        (Fault::SystemErrorAfterCommit, true),
        (Fault::Status5xx, false),
        (Fault::Html, false),
        (Fault::Empty, true),
        (Fault::Truncated, true),
        (Fault::BadSignature, true),
        (Fault::MissingSignature, true),
        (Fault::FrequencyLimited, false),
        (Fault::ReturnFail("系统繁忙".to_owned()), false),
        (refusal("TRADE_STATE_ERROR"), false),
        (refusal("NOAUTH"), false),
        (refusal("A_CODE_OF_TOMORROW"), false),
        // The query before found the order.
        (refusal("ORDERNOTEXIST"), false),
    ];
    let shops = [world.md5_shop(), world.hmac_shop()];
    let cases = shops.iter().flat_map(|shop| cases.iter().map(move |it| (shop, it)));
    let close = async |(shop, (fault, done)): (&Shop, &(Fault, bool))| {
        let case = format!("{fault:?} at {}", shop.mch_id);
        let number = create_payable_order(&world, shop).await;
        world.inject_fault(Api::Closeorder, &number, fault.clone(), 1);
        request_close(&world, shop, &number).await;
        eventually("the end of the first attempt", async || {
            let over = "call_lease_until is null and gateway_message is not null";
            world.select_order::<bool>(&number, over).await.then_some(())
        })
        .await;
        assert_eq!(world.order_state(shop, &number).await.unwrap(), "closing", "{case}");
        assert!(world.select_order::<bool>(&number, "next_check_at > now()").await, "{case}");

        world.check_order_now(shop, &number).await;
        world.expect_events(&number, &CLOSED).await;
        let by = if *done { "closed by query" } else { "closed by reply" };
        assert_eq!(world.transition_labels(&number).await[3], by, "{case}");
        let calls = world.calls(shop, &number).closeorder;
        assert_eq!(calls, if *done { 1 } else { 2 }, "{case}");
        expect_no_exceptions(&world, &number).await;
    };
    join_all(cases.map(close)).await;
    world.finish().await;
}

#[tokio::test]
async fn orderclosed_answer_means_closed() {
    let world = world_with(schedule_without_waits()).await;
    let shop = world.md5_shop();
    let number = create_payable_order(&world, &shop).await;
    world.inject_fault(Api::Closeorder, &number, refusal("ORDERCLOSED"), 1);
    request_close(&world, &shop, &number).await;
    world.expect_events(&number, &CLOSED).await;
    assert_eq!(world.calls(&shop, &number).closeorder, 1);
    world.finish().await;
}

#[tokio::test]
async fn order_unknown_to_wechat_is_closed() {
    let world = world_with(schedule_without_waits()).await;
    let shop = world.md5_shop();
    let number = Shop::number();
    world.inject_fault(Api::Unifiedorder, &number, Fault::DropBefore, 1);
    let (status, _) = world.create(&shop.order(&number, 9900), Some(20)).await;
    assert_eq!(status.as_u16(), 202);
    request_close(&world, &shop, &number).await;
    world.expect_events(&number, &["order.created", "order.closing", "order.closed"]).await;
    assert_eq!(world.simulator.order(&shop.mch_id, &number), None);
    let calls = world.calls(&shop, &number);
    assert_eq!((calls.orderquery, calls.closeorder, calls.unifiedorder), (1, 1, 1));
    expect_no_exceptions(&world, &number).await;
    world.finish().await;
}

#[tokio::test]
async fn close_during_first_call_waits_for_it() {
    let world = world_with(schedule_without_waits()).await;
    for fault in [Fault::Hold, Fault::HoldAfterCommit] {
        let shop = world.md5_shop();
        let number = Shop::number();
        world.inject_fault(Api::Unifiedorder, &number, fault, 1);
        let order = shop.order(&number, 9900);
        let meanwhile = async {
            world.wait_for_held_calls(1).await;
            request_close(&world, &shop, &number).await;
            let calls = world.calls(&shop, &number);
            assert_eq!(
                (calls.orderquery, calls.closeorder),
                (0, 0),
                "the first call still holds the lease"
            );
            world.simulator.release(&HeldCallFilter::default());
        };
        let ((status, view), ()) = tokio::join!(world.create(&order, Some(30)), meanwhile);
        assert_eq!(status.as_u16(), 200, "{view}");
        assert_eq!(view.get("pay"), None, "a payment must not be possible");
        world.expect_events(&number, &["order.created", "order.closing", "order.closed"]).await;
        let gateway = world.simulator.order(&shop.mch_id, &number).unwrap();
        assert_eq!(gateway.trade_state, "CLOSED");
        expect_no_exceptions(&world, &number).await;
    }
    world.finish().await;
}

#[tokio::test]
async fn close_during_check_is_not_overwritten() {
    let world = world_with(schedule_without_waits()).await;
    let shop = world.md5_shop();
    let number = create_payable_order(&world, &shop).await;
    world.inject_fault(Api::Orderquery, &number, Fault::HoldAfterCommit, 1);
    world.update_order_row(&number, "next_check_at = now()").await;
    world.wait_for_held_calls(1).await;
    request_close(&world, &shop, &number).await;
    world.simulator.release(&HeldCallFilter::default());
    // The next check is the one of the closing order, not that of the payable order.
    world.expect_events(&number, &CLOSED).await;
    world.finish().await;
}
