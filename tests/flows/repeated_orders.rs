//! A repeat of the same order answers its current state. Another order with the same number is a
//! conflict and changes nothing.

use std::collections::HashSet;

use futures_util::future::join_all;
use harness::problem::{expect_problem, kind_of};
use harness::{Shop, TestMerchant, World, eventually};
use serde_json::{Value, json};
use simulator::{Fault, FaultPlan, HeldCallFilter, PayOptions, PlannedFault};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};
use wechatpay_v2::{ApiKey, Fields, sign};

/// How many requests are posted at the same time.
const CONCURRENT_POSTS: i64 = 10;

/// A valid expiry, in whole seconds.
fn in_hours(hours: i64) -> String {
    let at = OffsetDateTime::now_utc() + Duration::hours(hours);
    at.replace_nanosecond(0).unwrap().format(&Rfc3339).unwrap()
}

/// The order with one field replaced or added.
fn with(order: &Value, field: &str, value: impl Into<Value>) -> Value {
    let mut other = order.clone();
    other[field] = value.into();
    other
}

/// The expected `paySign` of these parameters.
fn pay_sign(pay: &Value, merchant: &TestMerchant) -> String {
    let signed = pay.as_object().unwrap().iter();
    let signed = signed.filter(|(name, _)| *name != "paySign");
    let fields: Fields =
        signed.map(|(name, text)| (name.clone(), text.as_str().unwrap().to_owned())).collect();
    sign(&fields, &ApiKey::parse(&merchant.key).unwrap(), merchant.sign_type)
}

fn calls(world: &World, shop: &Shop, number: &str) -> u64 {
    world.simulator.calls(&shop.mch_id, number).unifiedorder
}

/// Posts an order, expects a conflict and returns the problem.
async fn expect_conflict(world: &World, order: &Value) -> Value {
    let headers = [("content-type", "application/json"), ("prefer", "wait=20")];
    let problem = expect_problem(world.post(order.to_string(), &headers).await).await;
    assert_eq!((kind_of(&problem), &problem["status"]), ("conflict", &json!(409)));
    problem
}

/// Waits until this many rejections of a number are published, and returns their problems.
async fn wait_for_rejections(world: &World, number: &str, count: usize) -> Vec<Value> {
    let what = format!("{count} rejections of {number}");
    eventually(&what, async || {
        let mut events = world.events.distinct(number);
        events.retain(|event| event["type"] == "order.rejected");
        assert!(events.len() <= count, "too many: {events:?}");
        let problems = events.iter().map(|event| event["problem"].clone());
        (events.len() == count).then(|| problems.collect())
    })
    .await
}

#[tokio::test]
async fn same_order_gets_fresh_pay_and_no_second_call() {
    let world = World::start().await;
    for (shop, merchant) in [world.md5_shop(), world.hmac_shop()].iter().zip(&world.merchants) {
        let number = Shop::number();
        let order = shop.order(&number, 9900);
        let first = world.create_payable(&order).await;
        let ledger = world.ledger_rows().await;
        let mut nonces = HashSet::from([first["pay"]["nonceStr"].to_string()]);
        for _ in 0..3 {
            let again = world.create_payable(&order).await;
            let pay = &again["pay"];
            assert_eq!(again["prepay_id"], first["prepay_id"]);
            assert_eq!(pay["package"], first["pay"]["package"]);
            assert!(nonces.insert(pay["nonceStr"].to_string()), "not fresh: {pay}");
            assert_eq!(pay["paySign"], pay_sign(pay, merchant));
        }
        assert_eq!(calls(&world, shop, &number), 1);
        assert_eq!(world.ledger_rows().await, ledger);
        world.expect_events(&number, &["order.created", "order.payable"]).await;
    }
    world.finish().await;
}

#[tokio::test]
async fn repeat_of_paid_order_answers_paid() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let number = Shop::number();
    let order = shop.order(&number, 9900);
    world.create_payable(&order).await;
    let paid = world.pay(&shop, &number, &PayOptions::default());
    world.wait_for_event(&number, "order.paid").await;
    let ledger = world.ledger_rows().await;

    let (status, view) = world.create(&order, Some(20)).await;
    assert_eq!((status.as_u16(), &view["state"]), (200, &json!("paid")));
    assert_eq!(view["transaction_id"], paid.transaction_id.as_str());
    assert_eq!(view.get("pay"), None, "a second payment must not be possible");

    let problem = expect_conflict(&world, &with(&order, "total_fee", 1)).await;
    assert_eq!(problem["state"], "paid");
    assert_eq!(calls(&world, &shop, &number), 1);
    assert_eq!(world.ledger_rows().await, ledger);
    wait_for_rejections(&world, &number, 1).await;
    world.finish().await;
}

#[tokio::test]
async fn equivalent_fields_are_the_same_order() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let number = Shop::number();
    let order = shop.order(&number, 9900);
    let first = world.create_payable(&with(&order, "time_expire", in_hours(1))).await;
    let ledger = world.ledger_rows().await;

    let other_address = with(&order, "spbill_create_ip", "2001:db8::7");
    let default_given = with(&order, "trade_type", "JSAPI");
    let same_expiry = with(&order, "time_expire", first["time_expire"].clone());
    let at = OffsetDateTime::parse(first["time_expire"].as_str().unwrap(), &Rfc3339).unwrap();
    let in_other_zone = at.to_offset(time::macros::offset!(+8));
    let same_instant = with(&order, "time_expire", in_other_zone.format(&Rfc3339).unwrap());
    for same in [order, other_address, default_given, same_expiry, same_instant] {
        let again = world.create_payable(&same).await;
        assert_eq!(again["prepay_id"], first["prepay_id"], "{same}");
        assert_eq!(again["spbill_create_ip"], first["spbill_create_ip"]);
        assert_eq!(again["time_expire"], first["time_expire"]);
    }
    assert_eq!(calls(&world, &shop, &number), 1);
    assert_eq!(world.ledger_rows().await, ledger);
    world.finish().await;
}

#[tokio::test]
async fn other_fields_under_same_number_are_conflict() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let number = Shop::number();
    let order = with(&shop.order(&number, 9900), "attach", "cart-17");
    world.create_payable(&order).await;
    let ledger = world.ledger_rows().await;

    let mut without_attach = order.clone();
    without_attach.as_object_mut().unwrap().remove("attach");
    let others = [
        ("total_fee", with(&order, "total_fee", 9901)),
        ("body", with(&order, "body", "another shop-flowers")),
        ("openid", with(&order, "openid", "oAnotherPayer")),
        ("attach", with(&order, "attach", "cart-18")),
        ("attach", without_attach),
        ("trade_type", with(&order, "trade_type", "APP")),
        ("goods_tag", with(&order, "goods_tag", "spring")),
        ("time_expire", with(&order, "time_expire", in_hours(1))),
    ];
    let mut problems = Vec::new();
    for (field, other) in &others {
        let problem = expect_conflict(&world, other).await;
        assert_eq!(problem["state"], "payable");
        let detail = problem["detail"].as_str().unwrap();
        let (_, named) = detail.rsplit_once(": ").unwrap();
        assert_eq!(named, *field, "{detail}");
        problems.push(problem);
    }
    let both = with(&with(&order, "total_fee", 1), "body", "a cart of another");
    let problem = expect_conflict(&world, &both).await;
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.ends_with(": body, total_fee"), "{detail}");
    problems.push(problem);

    let published = wait_for_rejections(&world, &number, problems.len()).await;
    for problem in &problems {
        assert!(published.contains(problem), "{problem} was not published");
    }
    assert_eq!(calls(&world, &shop, &number), 1);
    assert_eq!(world.ledger_rows().await, ledger);
    let (status, view) = world.get(&shop, &number).await;
    assert_eq!((status.as_u16(), &view["total_fee"]), (200, &json!(9900)));

    world.pay(&shop, &number, &PayOptions::default());
    world.wait_for_event(&number, "order.paid").await;
    world.finish().await;
}

#[tokio::test]
async fn number_belongs_to_its_merchant() {
    let world = World::start().await;
    let number = Shop::number();
    for (shop, fee) in [(world.md5_shop(), 100), (world.hmac_shop(), 200)] {
        let view = world.create_payable(&shop.order(&number, fee)).await;
        assert_eq!(view["total_fee"], fee);
        assert_eq!(calls(&world, &shop, &number), 1);
    }
    world.finish().await;
}

#[tokio::test]
async fn same_order_posted_concurrently_is_one_order() {
    let world = World::start().await;
    let shop = world.md5_shop();
    for round in 0..5 {
        let number = Shop::number();
        let order = shop.order(&number, 9900);
        let answers = join_all((0..CONCURRENT_POSTS).map(|_| world.create(&order, Some(20)))).await;

        let mut prepay_ids = HashSet::new();
        for (status, view) in &answers {
            match status.as_u16() {
                200 => drop(prepay_ids.insert(view["prepay_id"].to_string())),
                202 => assert_eq!(view["state"], "created"),
                _ => panic!("round {round}: {status} {view}"),
            }
        }
        assert_eq!(prepay_ids.len(), 1, "round {round}: {prepay_ids:?}");
        world.wait_for_event(&number, "order.payable").await;
        assert_eq!(world.transition_labels(&number).await, ["created by shop", "payable by reply"]);
        world.expect_events(&number, &["order.created", "order.payable"]).await;
        let gateway = world.simulator.order(&shop.mch_id, &number).unwrap();
        assert_eq!(gateway.unifiedorder_count, 1, "round {round}");
        assert_eq!(calls(&world, &shop, &number), 1, "round {round}");
    }
    world.finish().await;
}

#[tokio::test]
async fn repeat_during_first_call_answers_created() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let number = Shop::number();
    let order = shop.order(&number, 9900);
    let hold = PlannedFault {
        out_trade_no: Some(number.clone()),
        ..PlannedFault::new(Fault::HoldAfterCommit, 1)
    };
    let plan = FaultPlan { unifiedorder: vec![hold], ..FaultPlan::default() };
    world.simulator.set_faults(plan).unwrap();

    let first = world.create(&order, Some(20));
    let meanwhile = async {
        eventually("the held call", async || {
            (!world.simulator.held_calls().is_empty()).then_some(())
        })
        .await;
        let (status, view) = world.create(&order, Some(20)).await;
        assert_eq!((status.as_u16(), &view["state"]), (202, &json!("created")));
        let problem = expect_conflict(&world, &with(&order, "total_fee", 1)).await;
        assert_eq!(problem["state"], "created");
        world.simulator.release(&HeldCallFilter::default());
    };
    let ((status, view), ()) = futures_util::join!(first, meanwhile);
    assert_eq!((status.as_u16(), &view["state"]), (200, &json!("payable")));
    assert_eq!(calls(&world, &shop, &number), 1);
    wait_for_rejections(&world, &number, 1).await;
    world.finish().await;
}

#[tokio::test]
async fn concurrent_different_orders_leave_one() {
    let world = World::start().await;
    let shop = world.md5_shop();
    for round in 0..3 {
        let number = Shop::number();
        let orders: Vec<_> = (1..=CONCURRENT_POSTS).map(|fee| shop.order(&number, fee)).collect();
        let answers = join_all(orders.iter().map(|order| world.create(order, Some(20)))).await;

        let (accepted, conflicting): (Vec<_>, Vec<_>) =
            answers.iter().partition(|(status, _)| status.is_success());
        assert_eq!(accepted.len(), 1, "round {round}: {accepted:?}");
        let (status, view) = accepted[0];
        assert_eq!(status.as_u16(), 200, "round {round}: {view}");
        for (status, problem) in conflicting {
            assert_eq!(status.as_u16(), 409, "round {round}: {problem}");
            assert_eq!(kind_of(problem), "conflict");
        }
        wait_for_rejections(&world, &number, orders.len() - 1).await;
        let gateway = world.simulator.order(&shop.mch_id, &number).unwrap();
        assert_eq!(view["total_fee"], gateway.total_fee);
        let (_, now) = world.get(&shop, &number).await;
        assert_eq!(now["total_fee"], gateway.total_fee);
        assert_eq!(calls(&world, &shop, &number), 1);
        assert_eq!(world.transition_labels(&number).await, ["created by shop", "payable by reply"]);
    }
    world.finish().await;
}

#[tokio::test]
async fn repeat_of_refused_order_is_refused() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let number = Shop::number();
    let order = shop.order(&number, 9900);
    let fault = Fault::ErrCode {
        err_code: "NOAUTH".to_owned(),
        err_code_des: "商户无此接口权限".to_owned(),
    };
    let plan =
        FaultPlan { unifiedorder: vec![PlannedFault::new(fault, 1)], ..FaultPlan::default() };
    world.simulator.set_faults(plan).unwrap();

    let headers = [("content-type", "application/json"), ("prefer", "wait=20")];
    let first = expect_problem(world.post(order.to_string(), &headers).await).await;
    let ledger = world.ledger_rows().await;
    for _ in 0..3 {
        let again = expect_problem(world.post(order.to_string(), &headers).await).await;
        assert_eq!(again["status"], 422);
        assert_eq!(again["err_code"], "NOAUTH");
        assert_eq!(again["state"], "failed");
        assert_eq!(again, first);
    }
    let problem = expect_conflict(&world, &with(&order, "total_fee", 1)).await;
    assert_eq!(problem["state"], "failed");

    assert_eq!(calls(&world, &shop, &number), 1);
    assert_eq!(world.ledger_rows().await, ledger);
    world.expect_events(&number, &["order.created", "order.failed"]).await;
    wait_for_rejections(&world, &number, 1).await;
    world.finish().await;
}
