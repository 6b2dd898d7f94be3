//! Unknown outcomes of unifiedorder and orderquery.

use futures_util::future::join_all;
use harness::faults::unknown_outcomes;
use harness::{Options, Shop, World, fast_schedule};
use serde_json::json;
use simulator::{Api, Fault, PayOptions};

use super::{EVENTS, FOUND, PAYABLE, expect_no_exceptions, refusal, without_notification};

/// WeChat refuses a repeat with other parameters with `INVALID_REQUEST`.
fn expect_no_differing_request(world: &World) {
    let outcomes = &world.simulator.request_counts().apis[&Api::Unifiedorder];
    assert_eq!(outcomes.get("INVALID_REQUEST"), None, "{outcomes:?}");
}

#[tokio::test]
async fn unknown_outcome_is_settled_by_one_check() {
    let world = World::start().await;
    let shops = [world.md5_shop(), world.hmac_shop()];
    let cases =
        shops.iter().flat_map(|shop| unknown_outcomes().into_iter().map(move |it| (shop, it)));
    let settle = async |(shop, fault): (&Shop, Fault)| {
        let case = format!("{fault:?} at {}", shop.mch_id);
        let number = Shop::number();
        let mut order = shop.order(&number, 9900);
        order["attach"] = json!("a&b <c> 极");
        world.inject_fault(Api::Unifiedorder, &number, fault, 1);
        let (status, view) = world.create(&order, Some(30)).await;
        assert_eq!((status.as_u16(), &view["state"]), (202, &json!("created")), "{case}: {view}");
        assert!(view["gateway_message"].is_string(), "{case}: {view}");

        world.check_order_now(shop, &number).await;
        assert_eq!(world.transition_labels(&number).await, PAYABLE, "{case}");
        let (_, view) = world.get(shop, &number).await;
        assert_eq!(view.get("gateway_message"), None, "{case}");
        let gateway = world.simulator.order(&shop.mch_id, &number).unwrap();
        assert_eq!(view["prepay_id"], gateway.prepay_ids.last().unwrap().as_str(), "{case}");
        assert_eq!(world.calls(shop, &number).unifiedorder, 2, "{case}");
        world.expect_events(&number, &EVENTS[..2]).await;
        let payable = world.wait_for_event(&number, "order.payable").await;
        assert!(payable["order"]["pay"]["paySign"].is_string(), "{case}: {payable}");
        world.pay(shop, &number, &PayOptions::default());
        world.expect_events(&number, &EVENTS).await;
    };
    join_all(cases.map(settle)).await;
    expect_no_differing_request(&world);
    world.finish().await;
}

#[tokio::test]
async fn unknown_outcomes_settle_automatically() {
    let schedule = Some(fast_schedule());
    let options = Options { schedule, ..Options::default() };
    let world = World::start_with(options).await;
    let shops = [world.md5_shop(), world.hmac_shop()];
    let cases =
        shops.iter().flat_map(|shop| unknown_outcomes().into_iter().map(move |it| (shop, it)));
    let settle = async |(shop, fault): (&Shop, Fault)| {
        let case = format!("{fault:?} at {}", shop.mch_id);
        let number = Shop::number();
        world.inject_fault(Api::Unifiedorder, &number, fault, 2);
        let (status, _) = world.create(&shop.order(&number, 9900), None).await;
        assert_eq!(status.as_u16(), 202, "{case}");
        world.wait_for_state(shop, &number, "payable").await;
        assert_eq!(world.calls(shop, &number).unifiedorder, 3, "{case}");
        world.pay(shop, &number, &without_notification());
        world.expect_events(&number, &EVENTS).await;
        assert_eq!(world.transition_labels(&number).await, FOUND, "{case}");
        expect_no_exceptions(&world, &number).await;
    };
    join_all(cases.map(settle)).await;
    expect_no_differing_request(&world);
    world.finish().await;
}

#[tokio::test]
async fn order_paid_before_replay_is_found_paid() {
    let world = World::start().await;
    let shop = world.hmac_shop();
    for repeated in [true, false] {
        let number = Shop::number();
        let order = shop.order(&number, 9900);
        world.inject_fault(Api::Unifiedorder, &number, Fault::DropAfterCommit, 1);
        let (status, _) = world.create(&order, Some(20)).await;
        assert_eq!(status.as_u16(), 202);
        world.pay(&shop, &number, &without_notification());
        if repeated {
            let (status, view) = world.create(&order, Some(20)).await;
            assert_eq!((status.as_u16(), &view["state"]), (202, &json!("created")));
            let message = view["gateway_message"].as_str().unwrap();
            assert!(message.contains("ORDERPAID"), "{message}");
        }
        world.check_order_now(&shop, &number).await;
        world.expect_events(&number, &["order.created", "order.paid"]).await;
        assert_eq!(world.transition_labels(&number).await, ["created by shop", "paid by query"]);
        assert_eq!(world.calls(&shop, &number).unifiedorder, 1 + u64::from(repeated));
        let (status, view) = world.create(&order, Some(20)).await;
        assert_eq!((status.as_u16(), &view["state"]), (200, &json!("paid")));
        assert_eq!(view.get("gateway_message"), None);
        expect_no_exceptions(&world, &number).await;
    }
    world.finish().await;
}

#[tokio::test]
async fn number_reported_used_is_queried_not_failed() {
    let world = World::start().await;
    let shop = world.md5_shop();
    for (err_code, text) in [
        ("OUT_TRADE_NO_USED", "商户订单号重复"),
        ("INVALID_REQUEST", "201 商户订单号重复"),
        ("ORDERPAID", "该订单已支付"),
    ] {
        let number = Shop::number();
        world.inject_fault(Api::Unifiedorder, &number, refusal(err_code, text), 2);
        let (status, view) = world.create(&shop.order(&number, 9900), Some(20)).await;
        assert_eq!(status.as_u16(), 202, "{err_code}: {view}");
        world.check_order_now(&shop, &number).await;
        assert_eq!(world.transition_labels(&number).await, ["created by shop"], "{err_code}");
        let (_, view) = world.get(&shop, &number).await;
        let message = view["gateway_message"].as_str().unwrap();
        assert!(message.contains(text), "{message}");

        world.check_order_now(&shop, &number).await;
        assert_eq!(world.transition_labels(&number).await, PAYABLE, "{err_code}");
        world.pay(&shop, &number, &PayOptions::default());
        world.expect_events(&number, &EVENTS).await;
    }
    world.finish().await;
}

#[tokio::test]
async fn number_closed_at_wechat_fails_order() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let number = Shop::number();
    let order = shop.order(&number, 9900);
    world.inject_fault(Api::Unifiedorder, &number, Fault::DropAfterCommit, 1);
    let (status, _) = world.create(&order, Some(20)).await;
    assert_eq!(status.as_u16(), 202);
    world.simulator.set_state(&shop.mch_id, &number, "CLOSED").unwrap();
    let (status, problem) = world.create(&order, Some(20)).await;
    assert_eq!((status.as_u16(), &problem["err_code"]), (422, &json!("ORDERCLOSED")));
    world.expect_events(&number, &["order.created", "order.failed"]).await;
    // A later payment is still booked.
    world.pay(&shop, &number, &PayOptions { force: true, ..PayOptions::default() });
    world.expect_events(&number, &["order.created", "order.failed", "order.paid"]).await;
    assert_eq!(world.exception_kinds(&number).await, ["late_payment"]);
    world.finish().await;
}

#[tokio::test]
async fn failed_query_moves_nothing_and_is_repeated() {
    let world = World::start().await;
    let shops = [world.md5_shop(), world.hmac_shop()];
    let mut faults = unknown_outcomes();
    faults
        .extend(["NOAUTH", "ORDERNOTEXIST", "A_CODE_OF_TOMORROW"].map(|it| refusal(it, "不知道")));
    let faults = &faults;
    let cases = shops.iter().flat_map(|shop| faults.iter().map(move |it| (shop, it)));
    let query = async |(shop, fault): (&Shop, &Fault)| {
        let case = format!("{fault:?} at {}", shop.mch_id);
        let number = Shop::number();
        world.create_payable(&shop.order(&number, 9900)).await;
        world.pay(shop, &number, &without_notification());
        for _ in 0..2 {
            world.inject_fault(Api::Orderquery, &number, fault.clone(), 1);
            world.check_order_now(shop, &number).await;
            assert_eq!(world.transition_labels(&number).await, PAYABLE, "{case}");
            assert!(world.select_order::<bool>(&number, "next_check_at > now()").await, "{case}");
        }
        expect_no_exceptions(&world, &number).await;
        assert_eq!(world.calls(shop, &number).closeorder, 0, "{case}");
        assert_eq!(world.calls(shop, &number).unifiedorder, 1, "{case}");
        world.check_order_now(shop, &number).await;
        assert_eq!(world.transition_labels(&number).await, FOUND, "{case}");
        let (_, view) = world.get(shop, &number).await;
        assert_eq!(view.get("gateway_message"), None, "{case}");
    };
    join_all(cases.map(query)).await;
    world.finish().await;
}

#[tokio::test]
async fn failed_queries_are_repeated_automatically() {
    let schedule = Some(fast_schedule());
    let options = Options { schedule, ..Options::default() };
    let world = World::start_with(options).await;
    let shop = world.md5_shop();
    let find = async |fault: Fault| {
        let case = format!("{fault:?}");
        let number = Shop::number();
        world.inject_fault(Api::Orderquery, &number, fault, 3);
        world.create_payable(&shop.order(&number, 9900)).await;
        world.pay(&shop, &number, &without_notification());
        world.expect_events(&number, &EVENTS).await;
        assert_eq!(world.transition_labels(&number).await, FOUND, "{case}");
        assert_eq!(world.calls(&shop, &number).orderquery, 4, "{case}");
        expect_no_exceptions(&world, &number).await;
    };
    join_all(unknown_outcomes().into_iter().map(find)).await;
    world.finish().await;
}
