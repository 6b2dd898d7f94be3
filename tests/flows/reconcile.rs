//! Nobody told us: WeChat is asked, and what it says in clear is believed; what it does not say is
//! asked again, and never guessed.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use harness::{Options, Shop, World, eventually, fast_schedule};
use serde_json::{Value, json};
use simulator::{Api, Fault, PayOptions, Release};
use worker::CheckSchedule;

const STORY: [&str; 3] = ["order.created", "order.payable", "order.paid"];
const PAYABLE: [&str; 2] = ["created by shop", "payable by reply"];
const FOUND: [&str; 3] = ["created by shop", "payable by reply", "paid by query"];

async fn hurried_world() -> World {
    World::start_with(Options { schedule: Some(fast_schedule()), ..Options::default() }).await
}

/// A payment of which no notification exists.
fn unpublished() -> PayOptions {
    PayOptions { state_only: true, ..PayOptions::default() }
}

fn refusal(err_code: &str, err_code_des: &str) -> Fault {
    Fault::ErrCode { err_code: err_code.to_owned(), err_code_des: err_code_des.to_owned() }
}

/// Every way in which a call's outcome can be unknown.
fn no_answers() -> Vec<Fault> {
    vec![
        Fault::DropBefore,
        Fault::DropAfterCommit,
        Fault::SystemError,
        Fault::SystemErrorAfterCommit,
        Fault::Status5xx,
        Fault::Html,
        Fault::Empty,
        Fault::Truncated,
        Fault::BadSignature,
        Fault::MissingSignature,
        Fault::OtherOrder,
        Fault::FrequencyLimited,
        Fault::ReturnFail("系统繁忙".to_owned()),
    ]
}

/// So many payable orders.
async fn payable(world: &World, shop: &Shop, count: usize) -> Vec<String> {
    let numbers: Vec<String> = (0..count).map(|_| Shop::number()).collect();
    let orders: Vec<Value> = numbers.iter().map(|number| shop.order(number, 9900)).collect();
    join_all(orders.iter().map(|order| world.create_payable(order))).await;
    numbers
}

/// WeChat refuses a repetition that differs from what it has seen, with this code.
fn never_differed(world: &World) {
    let outcomes = &world.simulator.request_counts().apis[&Api::Unifiedorder];
    assert_eq!(outcomes.get("INVALID_REQUEST"), None, "{outcomes:?}");
}

async fn is_untroubled(world: &World, number: &str) {
    assert_eq!(world.exception_kinds(number).await, Vec::<String>::new(), "{number}");
}

#[tokio::test]
async fn payments_of_which_nobody_tells_are_found() {
    let world = hurried_world().await;
    let shop = world.shop();
    let numbers = payable(&world, &shop, 50).await;
    for number in &numbers {
        world.pay(&shop, number, &unpublished());
    }
    for number in &numbers {
        world.wait_for_state(&shop, number, "paid").await;
        assert_eq!(world.transitions(number).await, FOUND);
        world.expect_events(number, &STORY).await;
        is_untroubled(&world, number).await;
    }
    world.finish().await;
}

#[tokio::test]
async fn what_is_refunded_was_paid() {
    let world = World::start().await;
    for shop in [world.shop(), world.hmac_shop()] {
        let number = Shop::number();
        world.create_payable(&shop.order(&number, 9900)).await;
        let paid = world.pay(&shop, &number, &unpublished());
        world.simulator.set_state(&shop.mch_id, &number, "REFUND").unwrap();
        world.check_order_now(&shop, &number).await;
        assert_eq!(world.transitions(&number).await, FOUND);
        let (_, view) = world.get(&shop, &number).await;
        assert_eq!(view["transaction_id"], paid.transaction_id.as_str());
        is_untroubled(&world, &number).await;
        // Nothing more is to be learned of it.
        assert!(world.select_order::<bool>(&number, "next_check_at is null").await);
    }
    world.finish().await;
}

#[tokio::test]
async fn what_proves_nothing_moves_nothing() {
    let world = World::start().await;
    let shop = world.shop();
    for trade_state in ["NOTPAY", "USERPAYING", "ACCEPT", "PAYERROR", "STATE_OF_TOMORROW"] {
        let number = Shop::number();
        world.create_payable(&shop.order(&number, 9900)).await;
        world.simulator.set_state(&shop.mch_id, &number, trade_state).unwrap();
        let books = world.ledger_rows().await;
        world.check_order_now(&shop, &number).await;
        assert_eq!(world.ledger_rows().await, books, "{trade_state}");
        assert!(
            world.select_order::<bool>(&number, "next_check_at > now()").await,
            "{trade_state}"
        );
        is_untroubled(&world, &number).await;

        world.pay(&shop, &number, &unpublished());
        world.check_order_now(&shop, &number).await;
        assert_eq!(world.transitions(&number).await, FOUND, "{trade_state}");
    }
    world.finish().await;
}

#[tokio::test]
async fn what_is_closed_at_wechat_is_closed() {
    let world = World::start().await;
    let shop = world.shop();
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
        assert_eq!(world.calls(&shop, &unknown).unifiedorder, 1, "a dead number is not replayed");
        assert_eq!(world.calls(&shop, &unknown).closeorder, 0);
    }
    world.finish().await;
}

#[tokio::test]
async fn an_unknown_outcome_is_told_as_such_and_one_look_settles_it() {
    let world = World::start().await;
    let shops = [world.shop(), world.hmac_shop()];
    let cases = shops.iter().flat_map(|shop| no_answers().into_iter().map(move |it| (shop, it)));
    let settle = async |(shop, fault): (&Shop, Fault)| {
        let (case, number) = (format!("{fault:?} at {}", shop.mch_id), Shop::number());
        let mut order = shop.order(&number, 9900);
        order["attach"] = json!("a&b <c> 极");
        world.inject_fault(Api::Unifiedorder, &number, fault, 1);
        let (status, view) = world.create(&order, Some(30)).await;
        assert_eq!((status.as_u16(), &view["state"]), (202, &json!("created")), "{case}: {view}");
        assert!(view["gateway_message"].is_string(), "{case}: {view}");

        world.check_order_now(shop, &number).await;
        assert_eq!(world.transitions(&number).await, PAYABLE, "{case}");
        let (_, view) = world.get(shop, &number).await;
        assert_eq!(view.get("gateway_message"), None, "{case}");
        let gateway = world.simulator.order(&shop.mch_id, &number).unwrap();
        assert_eq!(view["prepay_id"], gateway.prepay_ids.last().unwrap().as_str(), "{case}");
        assert_eq!(world.calls(shop, &number).unifiedorder, 2, "{case}");
        world.expect_events(&number, &STORY[..2]).await;
        let payable = world.wait_for_event(&number, "order.payable").await;
        assert!(payable["order"]["pay"]["paySign"].is_string(), "{case}: {payable}");
        world.pay(shop, &number, &PayOptions::default());
        world.expect_events(&number, &STORY).await;
    };
    join_all(cases.map(settle)).await;
    never_differed(&world);
    world.finish().await;
}

#[tokio::test]
async fn unknown_outcomes_heal_by_themselves() {
    let schedule = Some(fast_schedule());
    let options = Options { schedule, ..Options::default() };
    let world = World::start_with(options).await;
    let shops = [world.shop(), world.hmac_shop()];
    let cases = shops.iter().flat_map(|shop| no_answers().into_iter().map(move |it| (shop, it)));
    let heal = async |(shop, fault): (&Shop, Fault)| {
        let (case, number) = (format!("{fault:?} at {}", shop.mch_id), Shop::number());
        world.inject_fault(Api::Unifiedorder, &number, fault, 2);
        let (status, _) = world.create(&shop.order(&number, 9900), None).await;
        assert_eq!(status.as_u16(), 202, "{case}");
        world.wait_for_state(shop, &number, "payable").await;
        assert_eq!(world.calls(shop, &number).unifiedorder, 3, "{case}");
        world.pay(shop, &number, &unpublished());
        world.expect_events(&number, &STORY).await;
        assert_eq!(world.transitions(&number).await, FOUND, "{case}");
        is_untroubled(&world, &number).await;
    };
    join_all(cases.map(heal)).await;
    never_differed(&world);
    world.finish().await;
}

#[tokio::test]
async fn an_order_that_was_paid_before_its_replay_is_found_paid() {
    let world = World::start().await;
    let shop = world.hmac_shop();
    for repeated in [true, false] {
        let number = Shop::number();
        let order = shop.order(&number, 9900);
        world.inject_fault(Api::Unifiedorder, &number, Fault::DropAfterCommit, 1);
        let (status, _) = world.create(&order, Some(20)).await;
        assert_eq!(status.as_u16(), 202);
        world.pay(&shop, &number, &unpublished());
        if repeated {
            let (status, view) = world.create(&order, Some(20)).await;
            assert_eq!((status.as_u16(), &view["state"]), (202, &json!("created")));
            let message = view["gateway_message"].as_str().unwrap();
            assert!(message.contains("ORDERPAID"), "{message}");
        }
        world.check_order_now(&shop, &number).await;
        world.expect_events(&number, &["order.created", "order.paid"]).await;
        assert_eq!(world.transitions(&number).await, ["created by shop", "paid by query"]);
        assert_eq!(world.calls(&shop, &number).unifiedorder, 1 + u64::from(repeated));
        let (status, view) = world.create(&order, Some(20)).await;
        assert_eq!((status.as_u16(), &view["state"]), (200, &json!("paid")));
        assert_eq!(view.get("gateway_message"), None);
        is_untroubled(&world, &number).await;
    }
    world.finish().await;
}

#[tokio::test]
async fn a_number_that_is_said_to_be_used_is_asked_about_and_not_given_up() {
    let world = World::start().await;
    let shop = world.shop();
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
        assert_eq!(world.transitions(&number).await, ["created by shop"], "{err_code}");
        let (_, view) = world.get(&shop, &number).await;
        let message = view["gateway_message"].as_str().unwrap();
        assert!(message.contains(text), "{message}");

        world.check_order_now(&shop, &number).await;
        assert_eq!(world.transitions(&number).await, PAYABLE, "{err_code}");
        world.pay(&shop, &number, &PayOptions::default());
        world.expect_events(&number, &STORY).await;
    }
    world.finish().await;
}

#[tokio::test]
async fn a_number_that_is_closed_at_wechat_is_refused_for_good() {
    let world = World::start().await;
    let (shop, number) = (world.shop(), Shop::number());
    let order = shop.order(&number, 9900);
    world.inject_fault(Api::Unifiedorder, &number, Fault::DropAfterCommit, 1);
    let (status, _) = world.create(&order, Some(20)).await;
    assert_eq!(status.as_u16(), 202);
    world.simulator.set_state(&shop.mch_id, &number, "CLOSED").unwrap();
    let (status, problem) = world.create(&order, Some(20)).await;
    assert_eq!((status.as_u16(), &problem["err_code"]), (422, &json!("ORDERCLOSED")));
    world.expect_events(&number, &["order.created", "order.failed"]).await;
    // Whatever happens, money that arrives is not lost.
    world.pay(&shop, &number, &PayOptions { force: true, ..PayOptions::default() });
    world.expect_events(&number, &["order.created", "order.failed", "order.paid"]).await;
    assert_eq!(world.exception_kinds(&number).await, ["late_payment"]);
    world.finish().await;
}

#[tokio::test]
async fn a_query_that_fails_moves_nothing_and_is_asked_again() {
    let world = World::start().await;
    let shops = [world.shop(), world.hmac_shop()];
    let mut faults = no_answers();
    faults
        .extend(["NOAUTH", "ORDERNOTEXIST", "A_CODE_OF_TOMORROW"].map(|it| refusal(it, "不知道")));
    let faults = &faults;
    let cases = shops.iter().flat_map(|shop| faults.iter().map(move |it| (shop, it)));
    let ask = async |(shop, fault): (&Shop, &Fault)| {
        let (case, number) = (format!("{fault:?} at {}", shop.mch_id), Shop::number());
        world.create_payable(&shop.order(&number, 9900)).await;
        world.pay(shop, &number, &unpublished());
        for _ in 0..2 {
            world.inject_fault(Api::Orderquery, &number, fault.clone(), 1);
            world.check_order_now(shop, &number).await;
            assert_eq!(world.transitions(&number).await, PAYABLE, "{case}");
            assert!(world.select_order::<bool>(&number, "next_check_at > now()").await, "{case}");
        }
        is_untroubled(&world, &number).await;
        assert_eq!(world.calls(shop, &number).closeorder, 0, "{case}");
        assert_eq!(world.calls(shop, &number).unifiedorder, 1, "{case}");
        world.check_order_now(shop, &number).await;
        assert_eq!(world.transitions(&number).await, FOUND, "{case}");
        let (_, view) = world.get(shop, &number).await;
        assert_eq!(view.get("gateway_message"), None, "{case}");
    };
    join_all(cases.map(ask)).await;
    world.finish().await;
}

#[tokio::test]
async fn queries_that_fail_are_repeated_by_themselves() {
    let schedule = Some(fast_schedule());
    let options = Options { schedule, ..Options::default() };
    let world = World::start_with(options).await;
    let shop = world.shop();
    let find = async |fault: Fault| {
        let (case, number) = (format!("{fault:?}"), Shop::number());
        world.inject_fault(Api::Orderquery, &number, fault, 3);
        world.create_payable(&shop.order(&number, 9900)).await;
        world.pay(&shop, &number, &unpublished());
        world.expect_events(&number, &STORY).await;
        assert_eq!(world.transitions(&number).await, FOUND, "{case}");
        assert_eq!(world.calls(&shop, &number).orderquery, 4, "{case}");
        is_untroubled(&world, &number).await;
    };
    join_all(no_answers().into_iter().map(find)).await;
    world.finish().await;
}

/// Looks come by themselves only after a minute and more, so that each pause can be seen.
fn minutes() -> CheckSchedule {
    let minute = Duration::from_secs(60);
    CheckSchedule {
        unknown_retry_first: minute,
        payable_check_interval: minute * 60,
        ..CheckSchedule::default()
    }
}

async fn pause(world: &World, number: &str) -> f64 {
    world.select_order(number, "extract(epoch from next_check_at - now())::float8").await
}

/// Opened once, with one event.
async fn is_unsettled(world: &World, number: &str) {
    let events = world.exception_events(number, 1).await;
    assert_eq!(events[0]["exception"]["kind"], "unsettled");
    assert_eq!(events[0]["order"]["exceptions"][0]["kind"], "unsettled", "{}", events[0]);
    assert_eq!(world.exception_kinds(number).await, ["unsettled"]);
}

#[tokio::test]
async fn the_same_communication_failure_again_and_again_is_for_a_person() {
    let world =
        World::start_with(Options { schedule: Some(minutes()), ..Options::default() }).await;
    let (shop, number) = (world.shop(), Shop::number());
    let text = "body参数格式错误";
    world.inject_fault(Api::Unifiedorder, &number, Fault::ReturnFail(text.to_owned()), 7);
    let (status, _) = world.create(&shop.order(&number, 9900), Some(20)).await;
    assert_eq!(status.as_u16(), 202);
    let mut pauses = vec![pause(&world, &number).await];
    for _ in 2..=5 {
        is_untroubled(&world, &number).await;
        world.check_order_now(&shop, &number).await;
        pauses.push(pause(&world, &number).await);
    }
    assert!(pauses.is_sorted_by(|a, b| a < b), "slower and slower: {pauses:?}");
    assert!(pauses[4] > 20.0 * 60.0, "{pauses:?}");
    is_unsettled(&world, &number).await;
    let (_, view) = world.get(&shop, &number).await;
    assert_eq!(view["state"], "created");
    assert!(view["gateway_message"].as_str().unwrap().contains(text), "{view}");
    assert_eq!(view["exceptions"][0]["kind"], "unsettled", "{view}");

    for _ in 6..=7 {
        world.check_order_now(&shop, &number).await;
        assert!(pause(&world, &number).await > 20.0 * 60.0);
        is_unsettled(&world, &number).await;
    }
    // The body was mended at WeChat's side.
    world.check_order_now(&shop, &number).await;
    world.expect_events(&number, &STORY[..2]).await;
    let open = "select count(*) from exceptions where resolved_at is null";
    let open: i64 = sqlx::query_scalar(open).fetch_one(&world.environment.pool).await.unwrap();
    assert_eq!(open, 0, "it moved: nobody needs to look any more");
    let (_, view) = world.get(&shop, &number).await;
    assert_eq!((&view["exceptions"], view.get("gateway_message")), (&json!([]), None));
    world.pay(&shop, &number, &PayOptions::default());
    world.expect_events(&number, &STORY).await;
    world.finish().await;
}

#[tokio::test]
async fn an_order_that_never_gets_an_answer_is_for_a_person() {
    let world =
        World::start_with(Options { schedule: Some(minutes()), ..Options::default() }).await;
    let (shop, number) = (world.shop(), Shop::number());
    world.create_payable(&shop.order(&number, 9900)).await;
    world.pay(&shop, &number, &unpublished());
    // An answer in between begins anew.
    world.inject_fault(Api::Orderquery, &number, Fault::Status5xx, 3);
    world.inject_fault(Api::Orderquery, &number, refusal("ORDERNOTEXIST", "order not exist"), 1);
    world.inject_fault(Api::Orderquery, &number, Fault::Html, 6);
    world.inject_fault(Api::Orderquery, &number, Fault::BadSignature, 6);
    for _ in 0..15 {
        world.check_order_now(&shop, &number).await;
        assert_eq!(world.transitions(&number).await, PAYABLE);
        is_untroubled(&world, &number).await;
        assert!(pause(&world, &number).await < 3961.0);
    }
    world.check_order_now(&shop, &number).await;
    is_unsettled(&world, &number).await;
    assert!(pause(&world, &number).await > 20.0 * 60.0);
    world.check_order_now(&shop, &number).await;
    world.expect_events(&number, &STORY).await;
    let resolution = "select resolution from exceptions";
    let resolution: Option<String> =
        sqlx::query_scalar(resolution).fetch_one(&world.environment.pool).await.unwrap();
    assert!(resolution.is_some());
    world.finish().await;
}

/// The numbers of the calls that are held.
fn held_numbers(world: &World) -> Vec<String> {
    world.simulator.held_calls().into_iter().filter_map(|call| call.out_trade_no).collect()
}

async fn all_are_due(world: &World) {
    let due = "update orders set next_check_at = now()";
    sqlx::query(due).execute(&world.environment.pool).await.unwrap();
}

async fn leases(world: &World) -> i64 {
    let count = "select count(call_lease_until) from orders";
    sqlx::query_scalar(count).fetch_one(&world.environment.pool).await.unwrap()
}

fn queries(world: &World) -> u64 {
    world.simulator.request_counts().apis.get(&Api::Orderquery).map_or(0, |it| it.values().sum())
}

#[tokio::test]
async fn of_many_workers_one_at_a_time_looks_at_an_order() {
    let world = World::start_with(Options { workers: Some(3), ..Options::default() }).await;
    let shop = world.shop();
    let mut numbers = payable(&world, &shop, 45).await;
    for number in &numbers {
        world.inject_fault(Api::Orderquery, number, Fault::HoldAfterCommit, 1);
    }
    all_are_due(&world).await;
    world.wait_for_held_calls(45).await;
    assert_eq!(BTreeSet::from_iter(held_numbers(&world)).len(), 45);

    // They are due again, and one more is; whoever looks finds only that one.
    numbers.extend(payable(&world, &shop, 1).await);
    world.inject_fault(Api::Orderquery, &numbers[45], Fault::HoldAfterCommit, 1);
    all_are_due(&world).await;
    world.wait_for_held_calls(46).await;
    assert_eq!(queries(&world), 46);
    for number in &numbers {
        assert_eq!(world.calls(&shop, number).orderquery, 1, "{number}");
        world.update_order_row(number, "next_check_at = now() + interval '1 hour'").await;
    }
    world.simulator.release(&Release::default());
    eventually("every lease to be given back", async || (leases(&world).await == 0).then_some(()))
        .await;
    for number in &numbers {
        assert_eq!(world.transitions(number).await, PAYABLE);
        world.pay(&shop, number, &unpublished());
    }
    all_are_due(&world).await;
    for number in &numbers {
        world.expect_events(number, &STORY).await;
        assert_eq!(world.calls(&shop, number).orderquery, 2, "{number}");
    }
    world.finish().await;
}

#[tokio::test]
async fn a_worker_looks_at_no_more_orders_at_once_than_their_merchant_has_places() {
    /// Half of 32: there are two merchants.
    const PLACES: usize = 16;
    let world = World::start().await;
    let shop = world.shop();
    let numbers = payable(&world, &shop, PLACES + 8).await;
    for number in &numbers {
        world.inject_fault(Api::Orderquery, number, Fault::HoldAfterCommit, 1);
    }
    all_are_due(&world).await;
    world.wait_for_held_calls(PLACES).await;
    assert_eq!(leases(&world).await, 16, "it claims no more than it can look at");

    // One is done and another one begun: it has looked again meanwhile, and found no other place.
    let done = held_numbers(&world).remove(0);
    world.simulator.release(&Release { out_trade_no: Some(done), ..Release::default() });
    eventually("the next query", async || (queries(&world) == 17).then_some(())).await;
    world.wait_for_held_calls(PLACES).await;
    assert_eq!((leases(&world).await, queries(&world)), (16, 17));
    eventually("the others", async || {
        world.simulator.release(&Release::default());
        (queries(&world) >= 24 && leases(&world).await == 0).then_some(())
    })
    .await;
    for number in &numbers {
        assert_eq!(world.transitions(number).await, PAYABLE);
    }
    world.finish().await;
}

#[tokio::test]
async fn a_payment_of_another_amount_stops_the_looking_until_a_person_decides() {
    let world = hurried_world().await;
    let (shop, number) = (world.shop(), Shop::number());
    world.inject_fault(Api::Orderquery, &number, Fault::SystemError, 1000);
    world.create_payable(&shop.order(&number, 9900)).await;
    world.update_order_row(&number, "request = jsonb_set(request, '{total_fee}', '9901')").await;
    world.pay(&shop, &number, &unpublished());
    world.simulator.set_faults(simulator::FaultPlan::default()).unwrap();

    let events = world.exception_events(&number, 1).await;
    assert_eq!(events[0]["exception"]["kind"], "amount_mismatch");
    let differs = events[0]["exception"]["differs"].to_string();
    assert!(differs.contains("9901") && differs.contains("9900"), "{differs}");
    eventually("the looking to stop", async || {
        let stopped = "next_check_at is null and call_lease_until is null";
        world.select_order::<bool>(&number, stopped).await.then_some(())
    })
    .await;
    assert_eq!(world.transitions(&number).await, PAYABLE);
    let asked = world.calls(&shop, &number).orderquery;

    // Another order is looked at many times, this one never.
    let other = Shop::number();
    world.create_payable(&shop.order(&other, 9900)).await;
    eventually("looks at another order", async || {
        (world.calls(&shop, &other).orderquery >= 3).then_some(())
    })
    .await;
    assert_eq!(world.calls(&shop, &number).orderquery, asked);
    assert_eq!(world.exception_kinds(&number).await, ["amount_mismatch"]);
    world.finish().await;
}

/// The answer that never came was about an order that is settled meanwhile.
#[tokio::test]
async fn a_look_without_an_outcome_leaves_no_trace_on_what_was_paid_meanwhile() {
    let world = World::start().await;
    let shop = world.shop();
    let [looked_at, called_about] = [Shop::number(), Shop::number()];
    world.create_payable(&shop.order(&looked_at, 9900)).await;
    world.inject_fault(Api::Orderquery, &looked_at, Fault::HoldAfterCommit, 1);
    world.inject_fault(Api::Unifiedorder, &called_about, Fault::HoldAfterCommit, 1);
    world.create(&shop.order(&called_about, 9900), None).await;
    world.update_order_row(&looked_at, "next_check_at = now()").await;
    world.wait_for_held_calls(2).await;
    for number in [&looked_at, &called_about] {
        world.pay(&shop, number, &PayOptions::default());
        world.wait_for_state(&shop, number, "paid").await;
    }
    // They are never released: the calls are given up.
    eventually("the calls to be over", async || (leases(&world).await == 0).then_some(())).await;
    for number in [&looked_at, &called_about] {
        let (_, view) = world.get(&shop, number).await;
        assert_eq!((&view["state"], view.get("gateway_message")), (&json!("paid"), None));
        assert!(
            world.select_order::<bool>(number, "next_check_at is null").await,
            "nothing to look for"
        );
        is_untroubled(&world, number).await;
    }
    world.finish().await;
}
