//! Unknown outcomes of unifiedorder: the order stays `created`, the shop gets that answer, and each
//! repeat sends the same parameters until the outcome is known.

use futures_util::future::join_all;
use harness::faults::unknown_outcomes;
use harness::{Shop, World, eventually};
use serde_json::{Value, json};
use simulator::{Api, Fault, FaultPlan, HeldCallFilter, PayOptions, PlannedFault};

/// Injects faults into the next unifiedorder calls for these numbers.
fn inject_faults<'a>(world: &World, faults: impl IntoIterator<Item = (&'a str, Fault, u32)>) {
    let planned = faults.into_iter().map(|(number, fault, times)| PlannedFault {
        out_trade_no: Some(number.to_owned()),
        ..PlannedFault::new(fault, times)
    });
    let plan = FaultPlan { unifiedorder: planned.collect(), ..FaultPlan::default() };
    world.simulator.set_faults(plan).unwrap();
}

fn refusal(err_code: &str) -> Fault {
    Fault::ErrCode {
        err_code: err_code.to_owned(), err_code_des: "微信支付说：不知道".to_owned()
    }
}

/// Creates an order whose outcome must stay unknown, and returns its `gateway_message`.
async fn create_and_expect_unknown(
    world: &World,
    shop: &Shop,
    order: &Value,
    case: &str,
) -> String {
    let number = order["out_trade_no"].as_str().unwrap();
    let (status, view) = world.create(order, Some(20)).await;
    assert_eq!(status.as_u16(), 202, "{case}: {view}");
    assert_eq!((&view["state"], &view["seq"]), (&json!("created"), &json!(1)), "{case}");
    for absent in ["pay", "prepay_id", "failure"] {
        assert_eq!(view.get(absent), None, "{case}");
    }
    let message = view["gateway_message"].as_str().unwrap().to_owned();
    assert!(message.len() > 5, "{case}: {message}");
    let merchant = world.merchants.iter().find(|it| it.mch_id == shop.mch_id);
    for secret in [&merchant.unwrap().key, &shop.openid, number] {
        assert!(!message.contains(secret), "{case}: {message}");
    }
    for technical in ["sign=", "nonce_str", "http://", "</", "prepay"] {
        assert!(!message.contains(technical), "{case}: {message}");
    }

    let (status, now) = world.get(shop, number).await;
    assert_eq!((status.as_u16(), &now["state"]), (200, &json!("created")));
    assert_eq!(now["gateway_message"], message.as_str(), "{case}");
    assert_eq!(now["exceptions"], json!([]), "{case}");
    assert_eq!(world.transition_labels(number).await, ["created by shop"], "{case}");
    message
}

/// Repeats the order, expects it payable, pays it and expects it paid.
async fn repeat_and_expect_paid(world: &World, shop: &Shop, order: &Value, case: &str) {
    let number = order["out_trade_no"].as_str().unwrap();
    let (status, view) = world.create(order, Some(20)).await;
    assert_eq!(status.as_u16(), 200, "{case}: {view}");
    assert_eq!(view["state"], "payable", "{case}");
    assert!(view["pay"].is_object(), "{case}: {view}");
    assert_eq!(view.get("gateway_message"), None, "{case}");
    let gateway = world.simulator.order(&shop.mch_id, number).unwrap();
    let issued = gateway.prepay_ids.last().unwrap();
    assert_eq!(view["prepay_id"], issued.as_str(), "{case}: the last issued");

    world.pay(shop, number, &PayOptions::default());
    world.expect_events(number, &["order.created", "order.payable", "order.paid"]).await;
}

/// WeChat refuses a repeat with other parameters with `INVALID_REQUEST`.
fn expect_no_differing_request(world: &World) {
    let requests = world.simulator.request_counts();
    let outcomes = &requests.apis[&Api::Unifiedorder];
    assert_eq!(outcomes.get("INVALID_REQUEST"), None, "{outcomes:?}");
}

#[tokio::test]
async fn repeat_after_unknown_outcome_is_payable() {
    let world = World::start().await;
    let faults = unknown_outcomes();
    for shop in [world.md5_shop(), world.hmac_shop()] {
        for fault in &faults {
            let case = format!("{fault:?} at {}", shop.mch_id);
            let number = Shop::number();
            let mut order = shop.order(&number, 9900);
            order["attach"] = json!("a&b <c> 极");
            inject_faults(&world, [(&*number, fault.clone(), 1)]);
            create_and_expect_unknown(&world, &shop, &order, &case).await;
            repeat_and_expect_paid(&world, &shop, &order, &case).await;
            let calls = world.simulator.calls(&shop.mch_id, &number);
            assert_eq!(calls.unifiedorder, 2, "{case}");
        }
    }
    expect_no_differing_request(&world);
    world.finish().await;
}

#[tokio::test]
async fn temporary_refusal_fails_no_order() {
    let world = World::start().await;
    let shop = world.md5_shop();
    for err_code in [
        "SYSTEMERROR",
        "ORDERPAID",
        "OUT_TRADE_NO_USED",
        "INVALID_REQUEST",
        "NOTENOUGH",
        "A_CODE_OF_TOMORROW",
    ] {
        let number = Shop::number();
        let order = shop.order(&number, 9900);
        inject_faults(&world, [(&*number, refusal(err_code), 1)]);
        let message = create_and_expect_unknown(&world, &shop, &order, err_code).await;
        assert!(message.contains(err_code), "{message}");
        assert!(message.contains("微信支付说：不知道"), "{message}");
        repeat_and_expect_paid(&world, &shop, &order, err_code).await;
    }
    world.finish().await;
}

#[tokio::test]
async fn wechats_text_is_passed_on() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let number = Shop::number();
    let order = shop.order(&number, 9900);
    let text = "time_expire时间过短，刷卡至少1分钟，其他5分钟";
    inject_faults(&world, [(&*number, Fault::ReturnFail(text.to_owned()), 1)]);
    let message = create_and_expect_unknown(&world, &shop, &order, "return_code FAIL").await;
    assert!(message.contains(text), "{message}");
    repeat_and_expect_paid(&world, &shop, &order, "return_code FAIL").await;
    world.finish().await;
}

#[tokio::test]
async fn parameters_stay_equal_over_unknown_outcomes() {
    let world = World::start().await;
    let shop = world.hmac_shop();
    let number = Shop::number();
    let order = shop.order(&number, 9900);
    inject_faults(
        &world,
        [
            (&*number, Fault::Truncated, 1),
            (&*number, Fault::DropAfterCommit, 2),
            (&*number, Fault::Html, 1),
        ],
    );
    for attempt in 1..=4 {
        create_and_expect_unknown(&world, &shop, &order, &format!("attempt {attempt}")).await;
    }
    // The call repeats the first address and expiry, not those of the repeated order.
    let mut other_address = order.clone();
    other_address["spbill_create_ip"] = json!("198.51.100.7");
    repeat_and_expect_paid(&world, &shop, &other_address, "the last attempt").await;
    assert_eq!(world.simulator.calls(&shop.mch_id, &number).unifiedorder, 5);
    expect_no_differing_request(&world);
    world.finish().await;
}

#[tokio::test]
async fn other_order_under_unknown_number_is_conflict() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let number = Shop::number();
    let order = shop.order(&number, 9900);
    inject_faults(&world, [(&*number, Fault::DropAfterCommit, 1)]);
    create_and_expect_unknown(&world, &shop, &order, "dropped").await;
    let ledger = world.ledger_rows().await;

    let (status, problem) = world.create(&shop.order(&number, 1), Some(20)).await;
    assert_eq!((status.as_u16(), &problem["state"]), (409, &json!("created")));
    assert_eq!(world.ledger_rows().await, ledger);
    assert_eq!(world.simulator.calls(&shop.mch_id, &number).unifiedorder, 1);
    world.wait_for_event(&number, "order.rejected").await;
    repeat_and_expect_paid(&world, &shop, &order, "after the conflict").await;
    expect_no_differing_request(&world);
    world.finish().await;
}

#[tokio::test]
async fn payment_may_arrive_before_create_outcome() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let number = Shop::number();
    let order = shop.order(&number, 9900);
    inject_faults(&world, [(&*number, Fault::DropAfterCommit, 1)]);
    create_and_expect_unknown(&world, &shop, &order, "dropped").await;
    let paid = world.pay(&shop, &number, &PayOptions::default());
    world.wait_for_event(&number, "order.paid").await;
    assert_eq!(world.transition_labels(&number).await, ["created by shop", "paid by notify"]);

    let (status, view) = world.create(&order, Some(20)).await;
    assert_eq!((status.as_u16(), &view["state"]), (200, &json!("paid")));
    assert_eq!(view["transaction_id"], paid.transaction_id.as_str());
    assert_eq!(world.simulator.calls(&shop.mch_id, &number).unifiedorder, 1);
    world.finish().await;
}

#[tokio::test]
async fn payment_may_arrive_during_create_call() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let number = Shop::number();
    let order = shop.order(&number, 9900);
    inject_faults(&world, [(&*number, Fault::HoldAfterCommit, 1)]);
    let created = world.create(&order, Some(20));
    let meanwhile = async {
        eventually("the held call", async || {
            (!world.simulator.held_calls().is_empty()).then_some(())
        })
        .await;
        world.pay(&shop, &number, &PayOptions::default());
        world.wait_for_state(&shop, &number, "paid").await;
        world.simulator.release(&HeldCallFilter::default());
    };
    let ((status, view), ()) = futures_util::join!(created, meanwhile);
    assert_eq!((status.as_u16(), &view["state"]), (200, &json!("paid")));
    assert_eq!(view.get("pay"), None, "a second payment must not be possible");
    world.wait_for_event(&number, "order.paid").await;
    assert_eq!(world.transition_labels(&number).await, ["created by shop", "paid by notify"]);
    let (_, now) = world.get(&shop, &number).await;
    assert_eq!(now["exceptions"], json!([]));
    world.finish().await;
}

#[tokio::test]
async fn call_without_answer_is_settled_by_repeat() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let number = Shop::number();
    let order = shop.order(&number, 9900);
    inject_faults(&world, [(&*number, Fault::HoldAfterCommit, 1)]);
    create_and_expect_unknown(&world, &shop, &order, "held").await;
    repeat_and_expect_paid(&world, &shop, &order, "held").await;
    expect_no_differing_request(&world);
    world.simulator.release(&HeldCallFilter::default());
    world.finish().await;
}

#[tokio::test]
async fn slow_call_delays_no_other_order() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let slow = Shop::number();
    let order = shop.order(&slow, 9900);
    inject_faults(&world, [(&*slow, Fault::Hold, 1)]);
    let is_held = || {
        let held = world.simulator.held_calls();
        held.iter().any(|call| call.out_trade_no.as_ref() == Some(&slow))
    };
    let others = async {
        eventually("the held call", async || is_held().then_some(())).await;
        let orders: Vec<_> = (1..=20).map(|fee| shop.order(&Shop::number(), fee)).collect();
        join_all(orders.iter().map(|order| world.create_payable(order))).await;
        assert!(is_held(), "the other orders must not wait for the slow call");
        assert_eq!(world.order_state(&shop, &slow).await.unwrap(), "created");
        world.simulator.release(&HeldCallFilter::default());
    };
    let ((status, view), ()) = futures_util::join!(world.create(&order, Some(20)), others);
    // The answer is 202 when the worker gave up the call before.
    assert!([200, 202].contains(&status.as_u16()), "{status} {view}");
    repeat_and_expect_paid(&world, &shop, &order, "slow").await;
    world.finish().await;
}
