//! From a decision to close until no more money can come, and what comes all the same.

use std::time::Duration;

use futures_util::future::join_all;
use harness::amqp::Amqp;
use harness::problem::{kind_of, wrong_fields};
use harness::{Options, Shop, World, eventually, fast_schedule};
use lapin::BasicProperties;
use serde_json::{Value, json};
use simulator::{Api, Fault, PayOptions, Release};
use time::OffsetDateTime;
use uuid::Uuid;
use worker::CheckSchedule;

const CLOSE: &str = "order.close";
const CREATE: &str = "order.create";
const CLOSED: [&str; 4] = ["order.created", "order.payable", "order.closing", "order.closed"];

/// Nothing waits for its time, and nothing is looked at twice by itself.
fn at_once() -> CheckSchedule {
    let never = Duration::from_secs(3600);
    CheckSchedule {
        close_age_min: Duration::ZERO,
        expiry_grace: Duration::ZERO,
        closed_check_delay: never,
        payable_check_interval: never,
        unknown_retry_first: never,
    }
}

/// What is closing stays so.
fn closing_waits() -> CheckSchedule {
    CheckSchedule { close_age_min: Duration::from_secs(3600), ..at_once() }
}

/// Whether an order is looked at from an instant on: then, or by chance up to two seconds later.
async fn falls_due(world: &World, number: &str, from: &str) -> bool {
    let due = format!("next_check_at between {from} and {from} + interval '2 s'");
    world.select_order(number, &due).await
}

async fn world_with(schedule: CheckSchedule) -> World {
    World::start_with(Options { schedule: Some(schedule), ..Options::default() }).await
}

fn refusal(err_code: &str) -> Fault {
    Fault::ErrCode { err_code: err_code.to_owned(), err_code_des: "不能关单".to_owned() }
}

fn unpublished() -> PayOptions {
    PayOptions { state_only: true, ..PayOptions::default() }
}

async fn a_payable_order(world: &World, shop: &Shop) -> String {
    let number = Shop::number();
    world.create_payable(&shop.order(&number, 9900)).await;
    number
}

/// Closes it at the shop's wish, and returns when we have decided to.
async fn begins_to_close(world: &World, shop: &Shop, number: &str) {
    let (status, view) = world.close(&shop.mch_id, number, Some(20)).await;
    assert_eq!(status.as_u16(), 200, "{view}");
    let state = view["state"].as_str().unwrap();
    assert!(["closing", "closed"].contains(&state), "{view}");
    assert_eq!((view.get("pay"), view.get("prepay_id")), (None, None));
}

/// A closed order, ours and WeChat's.
async fn a_closed_order(world: &World, shop: &Shop) -> String {
    let number = a_payable_order(world, shop).await;
    begins_to_close(world, shop, &number).await;
    world.expect_events(&number, &CLOSED).await;
    number
}

async fn is_untroubled(world: &World, number: &str) {
    assert_eq!(world.exception_kinds(number).await, Vec::<String>::new(), "{number}");
}

/// The properties of a command that was sent so many seconds ago.
fn sent_ago(seconds: i64) -> BasicProperties {
    let at = OffsetDateTime::now_utc().unix_timestamp() - seconds;
    BasicProperties::default()
        .with_content_type("application/json".into())
        .with_message_id(Uuid::now_v7().to_string().into())
        .with_timestamp(at.try_into().unwrap())
        .with_delivery_mode(2)
}

fn key(mch_id: &str, number: &str) -> Vec<u8> {
    json!({"mch_id": mch_id, "out_trade_no": number}).to_string().into_bytes()
}

#[tokio::test]
async fn a_shop_closes_an_order() {
    let world = world_with(fast_schedule()).await;
    for shop in [world.shop(), world.hmac_shop()] {
        for wait in [None, Some(20)] {
            let number = a_payable_order(&world, &shop).await;
            let (status, view) = world.close(&shop.mch_id, &number, wait).await;
            assert_eq!(status.as_u16(), if wait.is_some() { 200 } else { 202 }, "{view}");
            world.expect_events(&number, &CLOSED).await;
            assert_eq!(
                world.transitions(&number).await,
                ["created by shop", "payable by reply", "closing by shop", "closed by reply"]
            );
            let calls = world.calls(&shop, &number);
            assert_eq!(calls.closeorder, 1);
            assert!(calls.orderquery >= 1, "WeChat wants a query before");
            let gateway = world.simulator.order(&shop.mch_id, &number).unwrap();
            assert_eq!(gateway.trade_state, "CLOSED");
            let (status, view) = world.get(&shop, &number).await;
            assert_eq!((status.as_u16(), &view["state"]), (200, &json!("closed")));
            assert_eq!(view.get("prepay_id"), None);
            is_untroubled(&world, &number).await;
        }
    }
    world.finish().await;
}

#[tokio::test]
async fn a_shop_closes_an_order_by_amqp() {
    let world = world_with(fast_schedule()).await;
    let shop = world.shop();
    let amqp = Amqp::connect(&world.environment).await;
    let mut answers = amqp.direct_reply_to().await;
    let number = a_payable_order(&world, &shop).await;
    let asked = sent_ago(0)
        .with_reply_to(answers.name.as_str().into())
        .with_correlation_id("cart-17".into());
    amqp.command(CLOSE, &key(&shop.mch_id, &number), asked).await;
    let reply = answers.next_json().await;
    assert_eq!((&reply["status"], &reply["order"]["state"]), (&json!(200), &json!("closing")));
    world.expect_events(&number, &CLOSED).await;
    assert_eq!(world.calls(&shop, &number).closeorder, 1);
    amqp.close().await;
    world.finish().await;
}

#[tokio::test]
async fn closeorder_waits_for_the_answer_of_a_query() {
    let world = world_with(at_once()).await;
    let shop = world.shop();
    let number = a_payable_order(&world, &shop).await;
    world.inject_fault(Api::Orderquery, &number, Fault::HoldAfterCommit, 1);
    begins_to_close(&world, &shop, &number).await;
    world.wait_for_held_calls(1).await;
    assert_eq!(world.calls(&shop, &number).closeorder, 0);
    world.simulator.release(&Release::default());
    world.expect_events(&number, &CLOSED).await;
    assert_eq!(world.calls(&shop, &number).closeorder, 1);

    // Paid, says the query: closeorder is never called.
    let number = a_payable_order(&world, &shop).await;
    world.pay(&shop, &number, &unpublished());
    begins_to_close(&world, &shop, &number).await;
    world.wait_for_state(&shop, &number, "paid").await;
    assert_eq!(world.calls(&shop, &number).closeorder, 0);
    is_untroubled(&world, &number).await;
    world.finish().await;
}

#[tokio::test]
async fn an_order_is_not_closed_before_its_age() {
    let schedule = CheckSchedule { close_age_min: Duration::from_secs(3), ..at_once() };
    let options = Options {
        schedule: Some(schedule),
        gateway_close_age_min: Some(Duration::from_secs(1)),
        ..Options::default()
    };
    let world = World::start_with(options).await;
    let shop = world.shop();
    let number = a_payable_order(&world, &shop).await;
    begins_to_close(&world, &shop, &number).await;
    world.expect_events(&number, &CLOSED).await;
    let outcomes = &world.simulator.request_counts().apis[&Api::Closeorder];
    assert_eq!(outcomes.keys().collect::<Vec<_>>(), ["SUCCESS"]);
    assert!(
        world.select_order::<bool>(&number, "closed_at >= created_at + interval '3 seconds'").await
    );
    world.finish().await;
}

#[tokio::test]
async fn the_wait_of_a_close_is_counted_from_the_creation() {
    let world = World::start().await;
    let shop = world.shop();
    let number = a_payable_order(&world, &shop).await;
    begins_to_close(&world, &shop, &number).await;
    let due = "created_at + interval '5 minutes'";
    assert!(falls_due(&world, &number, due).await);
    // Even when it is looked at before.
    world.check_order_now(&shop, &number).await;
    assert_eq!(world.order_state(&shop, &number).await.unwrap(), "closing");
    assert_eq!(world.calls(&shop, &number).closeorder, 0);
    assert!(falls_due(&world, &number, due).await);

    world.update_order_row(&number, "created_at = created_at - interval '5 minutes'").await;
    world.check_order_now(&shop, &number).await;
    world.expect_events(&number, &CLOSED).await;
    assert_eq!(world.calls(&shop, &number).closeorder, 1);
    world.finish().await;
}

#[tokio::test]
async fn an_order_that_is_too_young_for_wechat_is_closed_later() {
    let options = Options {
        schedule: Some(CheckSchedule { close_age_min: Duration::ZERO, ..fast_schedule() }),
        gateway_close_age_min: Some(Duration::from_secs(1)),
        ..Options::default()
    };
    let world = World::start_with(options).await;
    let shop = world.shop();
    let number = a_payable_order(&world, &shop).await;
    begins_to_close(&world, &shop, &number).await;
    world.expect_events(&number, &CLOSED).await;
    let outcomes = &world.simulator.request_counts().apis[&Api::Closeorder];
    assert_eq!(outcomes["SUCCESS"], 1, "{outcomes:?}");
    is_untroubled(&world, &number).await;
    world.finish().await;
}

#[tokio::test]
async fn a_close_without_an_outcome_is_repeated_until_there_is_one() {
    let world = world_with(at_once()).await;
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
        // The query said that WeChat knows it.
        (refusal("ORDERNOTEXIST"), false),
    ];
    let shops = [world.shop(), world.hmac_shop()];
    let cases = shops.iter().flat_map(|shop| cases.iter().map(move |it| (shop, it)));
    let close = async |(shop, (fault, done)): (&Shop, &(Fault, bool))| {
        let case = format!("{fault:?} at {}", shop.mch_id);
        let number = a_payable_order(&world, shop).await;
        world.inject_fault(Api::Closeorder, &number, fault.clone(), 1);
        begins_to_close(&world, shop, &number).await;
        eventually("the first attempt to be over", async || {
            let over = "call_lease_until is null and gateway_message is not null";
            world.select_order::<bool>(&number, over).await.then_some(())
        })
        .await;
        assert_eq!(world.order_state(shop, &number).await.unwrap(), "closing", "{case}");
        assert!(world.select_order::<bool>(&number, "next_check_at > now()").await, "{case}");

        world.check_order_now(shop, &number).await;
        world.expect_events(&number, &CLOSED).await;
        let by = if *done { "closed by query" } else { "closed by reply" };
        assert_eq!(world.transitions(&number).await[3], by, "{case}");
        let calls = world.calls(shop, &number).closeorder;
        assert_eq!(calls, if *done { 1 } else { 2 }, "{case}");
        is_untroubled(&world, &number).await;
    };
    join_all(cases.map(close)).await;
    world.finish().await;
}

#[tokio::test]
async fn closed_already_is_closed() {
    let world = world_with(at_once()).await;
    let shop = world.shop();
    let number = a_payable_order(&world, &shop).await;
    world.inject_fault(Api::Closeorder, &number, refusal("ORDERCLOSED"), 1);
    begins_to_close(&world, &shop, &number).await;
    world.expect_events(&number, &CLOSED).await;
    assert_eq!(world.calls(&shop, &number).closeorder, 1);
    world.finish().await;
}

#[tokio::test]
async fn a_payment_between_the_query_and_the_close_is_found() {
    let world = world_with(at_once()).await;
    let shop = world.shop();
    let number = a_payable_order(&world, &shop).await;
    world.inject_fault(Api::Closeorder, &number, Fault::Hold, 1);
    begins_to_close(&world, &shop, &number).await;
    world.wait_for_held_calls(1).await;
    world.pay(&shop, &number, &unpublished());
    world.simulator.release(&Release::default());
    world.wait_for_state(&shop, &number, "paid").await;
    let outcomes = &world.simulator.request_counts().apis[&Api::Closeorder];
    assert_eq!(outcomes.keys().collect::<Vec<_>>(), ["ORDERPAID"]);
    world
        .expect_events(&number, &["order.created", "order.payable", "order.closing", "order.paid"])
        .await;
    assert_eq!(world.transitions(&number).await[3], "paid by query");
    // WeChat's clock has seconds, so it may have been paid in the second of the decision.
    let found = world.exception_kinds(&number).await;
    assert!(found.is_empty() || found == ["late_payment"], "{found:?}");
    world.finish().await;
}

#[tokio::test]
async fn an_order_that_never_reached_wechat_is_closed() {
    let world = world_with(at_once()).await;
    let shop = world.shop();
    let number = Shop::number();
    world.inject_fault(Api::Unifiedorder, &number, Fault::DropBefore, 1);
    let (status, _) = world.create(&shop.order(&number, 9900), Some(20)).await;
    assert_eq!(status.as_u16(), 202);
    begins_to_close(&world, &shop, &number).await;
    world.expect_events(&number, &["order.created", "order.closing", "order.closed"]).await;
    assert_eq!(world.simulator.order(&shop.mch_id, &number), None);
    let calls = world.calls(&shop, &number);
    assert_eq!((calls.orderquery, calls.closeorder, calls.unifiedorder), (1, 1, 1));
    is_untroubled(&world, &number).await;
    world.finish().await;
}

#[tokio::test]
async fn a_close_during_the_first_call_waits_for_it() {
    let world = world_with(at_once()).await;
    for fault in [Fault::Hold, Fault::HoldAfterCommit] {
        let (shop, number) = (world.shop(), Shop::number());
        world.inject_fault(Api::Unifiedorder, &number, fault, 1);
        let order = shop.order(&number, 9900);
        let meanwhile = async {
            world.wait_for_held_calls(1).await;
            begins_to_close(&world, &shop, &number).await;
            let calls = world.calls(&shop, &number);
            assert_eq!((calls.orderquery, calls.closeorder), (0, 0), "the call has its owner");
            world.simulator.release(&Release::default());
        };
        let ((status, view), ()) = tokio::join!(world.create(&order, Some(30)), meanwhile);
        assert_eq!(status.as_u16(), 200, "{view}");
        assert_eq!(view.get("pay"), None, "nobody shall begin to pay");
        world.expect_events(&number, &["order.created", "order.closing", "order.closed"]).await;
        let gateway = world.simulator.order(&shop.mch_id, &number).unwrap();
        assert_eq!(gateway.trade_state, "CLOSED");
        is_untroubled(&world, &number).await;
    }
    world.finish().await;
}

#[tokio::test]
async fn a_close_during_a_look_is_not_forgotten_by_it() {
    let world = world_with(at_once()).await;
    let shop = world.shop();
    let number = a_payable_order(&world, &shop).await;
    world.inject_fault(Api::Orderquery, &number, Fault::HoldAfterCommit, 1);
    world.update_order_row(&number, "next_check_at = now()").await;
    world.wait_for_held_calls(1).await;
    begins_to_close(&world, &shop, &number).await;
    world.simulator.release(&Release::default());
    // Not when the payable order would have been looked at again.
    world.expect_events(&number, &CLOSED).await;
    world.finish().await;
}

#[tokio::test]
async fn paid_before_the_decision_to_close_is_no_late_payment_and_after_it_is() {
    let world = world_with(closing_waits()).await;
    let shop = world.hmac_shop();
    for late in [false, true] {
        let number = a_payable_order(&world, &shop).await;
        let held =
            (!late).then(|| world.unsent_notification(&shop, &number, PayOptions::default()));
        begins_to_close(&world, &shop, &number).await;
        let body = match held {
            Some(body) => body,
            None => {
                // WeChat's clock has seconds.
                world
                    .update_order_row(
                        &number,
                        "closing_since = closing_since - interval '5 seconds'",
                    )
                    .await;
                world.unsent_notification(&shop, &number, PayOptions::default())
            }
        };
        world.notify_ok(&shop.mch_id, &body).await;
        world
            .expect_events(
                &number,
                &["order.created", "order.payable", "order.closing", "order.paid"],
            )
            .await;
        assert_eq!(world.transitions(&number).await[3], "paid by notify");
        if late {
            assert_eq!(world.exception_kinds(&number).await, ["late_payment"]);
            let events = world.exception_events(&number, 1).await;
            assert_eq!(events[0]["order"]["state"], "paid", "{}", events[0]);
        } else {
            is_untroubled(&world, &number).await;
        }
        assert_eq!(world.calls(&shop, &number).closeorder, 0);
        assert!(world.select_order::<bool>(&number, "next_check_at is null").await);
    }
    world.finish().await;
}

#[tokio::test]
async fn paid_after_the_close_is_paid_and_late() {
    let world = world_with(at_once()).await;
    let shop = world.shop();
    let number = a_closed_order(&world, &shop).await;
    world.pay(&shop, &number, &PayOptions { force: true, ..PayOptions::default() });
    let story: Vec<&str> = CLOSED.into_iter().chain(["order.paid"]).collect();
    world.expect_events(&number, &story).await;
    assert_eq!(world.transitions(&number).await[4], "paid by notify");
    let events = world.exception_events(&number, 1).await;
    assert_eq!(events[0]["exception"]["kind"], "late_payment");
    assert_eq!(world.exception_kinds(&number).await, ["late_payment"]);
    world.finish().await;
}

#[tokio::test]
async fn the_last_look_after_a_close_finds_a_payment() {
    let story: Vec<&str> = CLOSED.into_iter().chain(["order.paid"]).collect();
    let schedule = CheckSchedule { closed_check_delay: Duration::from_secs(60), ..at_once() };
    let world = world_with(schedule).await;
    let shop = world.shop();
    let number = a_closed_order(&world, &shop).await;
    assert!(falls_due(&world, &number, "closed_at + interval '60 s'").await);
    world.pay(&shop, &number, &PayOptions { force: true, ..unpublished() });
    world.check_order_now(&shop, &number).await;
    world.expect_events(&number, &story).await;
    assert_eq!(world.transitions(&number).await[4], "paid by query");
    assert_eq!(world.exception_kinds(&number).await, ["late_payment"]);

    // It is not lost when the query fails, nor is it the last one then.
    let number = a_closed_order(&world, &shop).await;
    world.inject_fault(Api::Orderquery, &number, Fault::Html, 1);
    world.update_order_row(&number, "closed_at = closed_at - interval '60 s'").await;
    world.check_order_now(&shop, &number).await;
    assert!(world.select_order::<bool>(&number, "next_check_at > now()").await);
    world.check_order_now(&shop, &number).await;
    assert!(
        world.select_order::<bool>(&number, "next_check_at is null").await,
        "that was the last one"
    );
    assert_eq!(world.order_state(&shop, &number).await.unwrap(), "closed");
    is_untroubled(&world, &number).await;
    world.finish().await;

    let schedule = CheckSchedule { closed_check_delay: Duration::from_millis(1500), ..at_once() };
    let world = world_with(schedule).await;
    let shop = world.shop();
    let number = a_closed_order(&world, &shop).await;
    world.pay(&shop, &number, &PayOptions { force: true, ..unpublished() });
    // By itself.
    world.expect_events(&number, &story).await;
    world.finish().await;
}

#[tokio::test]
async fn what_has_expired_is_closed_by_itself() {
    let world = world_with(fast_schedule()).await;
    let shop = world.shop();
    let number = a_payable_order(&world, &shop).await;
    world.update_order_row(&number, "time_expire = now() - interval '1 s'").await;
    world.expect_events(&number, &CLOSED).await;
    assert_eq!(
        world.transitions(&number).await[2..],
        ["closing by query".to_owned(), "closed by reply".to_owned()]
    );
    is_untroubled(&world, &number).await;

    // Paid in its last second, and nobody told.
    let number = Shop::number();
    world.inject_fault(Api::Orderquery, &number, Fault::SystemError, 1000);
    world.create_payable(&shop.order(&number, 9900)).await;
    world.pay(&shop, &number, &unpublished());
    world.update_order_row(&number, "time_expire = now() - interval '1 s'").await;
    world.simulator.set_faults(simulator::FaultPlan::default()).unwrap();
    world.wait_for_state(&shop, &number, "paid").await;
    is_untroubled(&world, &number).await;
    world.finish().await;
}

#[tokio::test]
async fn a_cashier_page_that_is_open_at_the_expiry_has_its_grace() {
    let world = World::start().await;
    let shop = world.shop();
    let number = a_payable_order(&world, &shop).await;
    world
        .update_order_row(&number, "time_expire = date_trunc('second', now()) - interval '5 s'")
        .await;
    world.check_order_now(&shop, &number).await;
    assert_eq!(world.order_state(&shop, &number).await.unwrap(), "payable");
    assert!(falls_due(&world, &number, "time_expire + interval '60 s'").await);
    world.update_order_row(&number, "time_expire = time_expire - interval '60 s'").await;
    world.check_order_now(&shop, &number).await;
    assert_eq!(world.order_state(&shop, &number).await.unwrap(), "closing");
    world.finish().await;
}

#[tokio::test]
async fn an_order_of_unknown_outcome_is_closed_when_its_expiry_is_near() {
    let world = world_with(fast_schedule()).await;
    let shop = world.shop();
    for fault in [Fault::SystemError, Fault::SystemErrorAfterCommit] {
        let number = Shop::number();
        // It may never be known.
        world.inject_fault(Api::Unifiedorder, &number, fault, 1000);
        let (status, _) = world.create(&shop.order(&number, 9900), None).await;
        assert_eq!(status.as_u16(), 202);
        eventually("a replay", async || {
            (world.calls(&shop, &number).unifiedorder >= 2).then_some(())
        })
        .await;
        world.update_order_row(&number, "time_expire = now() + interval '5 minutes'").await;
        world.expect_events(&number, &["order.created", "order.closing", "order.closed"]).await;
        assert_eq!(world.transitions(&number).await[1], "closing by query");
        assert_eq!(world.calls(&shop, &number).closeorder, 1);
        is_untroubled(&world, &number).await;
    }
    world.finish().await;
}

#[tokio::test]
async fn a_close_that_overtakes_its_create_waits_for_it() {
    let world = world_with(fast_schedule()).await;
    let (shop, number) = (world.shop(), Shop::number());
    let amqp = Amqp::connect(&world.environment).await;
    let mut answers = amqp.direct_reply_to().await;
    let asked = sent_ago(0).with_reply_to(answers.name.as_str().into());
    amqp.command(CLOSE, &key(&shop.mch_id, &number), asked).await;
    eventually("the close to wait", async || {
        let waiting = amqp.peek_all(&amqp.qualified_name("orders.delay.5s")).await;
        (waiting.len() == 1).then_some(())
    })
    .await;
    let order = shop.order(&number, 9900).to_string().into_bytes();
    amqp.command(CREATE, &order, sent_ago(0)).await;
    world.expect_events(&number, &CLOSED).await;
    let reply = answers.next_json().await;
    assert_eq!((&reply["status"], &reply["order"]["state"]), (&json!(200), &json!("closing")));
    amqp.close().await;
    world.finish().await;
}

#[tokio::test]
async fn a_close_of_an_order_that_never_comes_is_declined() {
    let world = World::start().await;
    let (shop, number) = (world.shop(), Shop::number());
    let amqp = Amqp::connect(&world.environment).await;
    let mut answers = amqp.direct_reply_to().await;
    let asked = sent_ago(61).with_reply_to(answers.name.as_str().into());
    amqp.command(CLOSE, &key(&shop.mch_id, &number), asked).await;
    let reply = answers.next_json().await;
    assert_eq!(reply["status"], 404, "{reply}");
    assert_eq!(kind_of(&reply["problem"]), "not-found");
    world.wait_for_event(&number, "order.rejected").await;
    assert_eq!(world.events.distinct(&number).len(), 1);
    let (status, problem) = world.get(&shop, &number).await;
    assert_eq!((status.as_u16(), kind_of(&problem)), (404, "not-found"));
    let calls = world.calls(&shop, &number);
    assert_eq!((calls.orderquery, calls.closeorder), (0, 0));

    // The number is as good as new.
    world.create_payable(&shop.order(&number, 9900)).await;
    amqp.close().await;
    world.finish().await;
}

/// Posts a close that must be declined, and returns its status and problem.
async fn declined(world: &World, mch_id: &str, number: &str) -> (u16, Value) {
    let (status, problem) = world.close(mch_id, number, Some(20)).await;
    assert_eq!(problem["status"], status.as_u16(), "{problem}");
    (status.as_u16(), problem)
}

#[tokio::test]
async fn a_paid_order_cannot_be_closed() {
    let world = world_with(at_once()).await;
    let shop = world.shop();
    let number = a_payable_order(&world, &shop).await;
    world.pay(&shop, &number, &PayOptions::default());
    world.wait_for_event(&number, "order.paid").await;
    let books = world.ledger_rows().await;
    for times in 1..=2 {
        let (status, problem) = declined(&world, &shop.mch_id, &number).await;
        assert_eq!((status, &problem["state"]), (409, &json!("paid")), "{problem}");
        eventually("the rejection", async || {
            let mut events = world.events.distinct(&number);
            events.retain(|event| event["type"] == "order.rejected");
            (events.len() == times).then_some(())
        })
        .await;
    }
    assert_eq!(world.ledger_rows().await, books);
    is_untroubled(&world, &number).await;
    assert_eq!(world.calls(&shop, &number).closeorder, 0);
    world.finish().await;
}

#[tokio::test]
async fn a_close_may_be_repeated() {
    let world = world_with(at_once()).await;
    let shop = world.shop();
    let number = a_payable_order(&world, &shop).await;
    let closes = join_all((0..5).map(|_| begins_to_close(&world, &shop, &number)));
    closes.await;
    world.expect_events(&number, &CLOSED).await;
    let books = world.ledger_rows().await;
    let (status, view) = world.close(&shop.mch_id, &number, Some(20)).await;
    assert_eq!((status.as_u16(), &view["state"]), (200, &json!("closed")));
    assert_eq!(world.ledger_rows().await, books);
    assert_eq!(world.calls(&shop, &number).closeorder, 1);

    // The order again: it is closed, and nobody calls about it.
    let (status, view) = world.create(&shop.order(&number, 9900), Some(20)).await;
    assert_eq!((status.as_u16(), &view["state"]), (200, &json!("closed")));
    assert_eq!(view.get("pay"), None);
    assert_eq!(world.calls(&shop, &number).unifiedorder, 1);
    is_untroubled(&world, &number).await;
    world.finish().await;
}

#[tokio::test]
async fn an_order_of_a_merchant_that_is_not_ours_is_not_closed() {
    let world = world_with(at_once()).await;
    let number = Shop::number();
    let (status, problem) = declined(&world, "1999999999", &number).await;
    assert_eq!((status, wrong_fields(&problem)), (422, vec!["mch_id"]));
    world.wait_for_event(&number, "order.rejected").await;

    // Nor does one merchant close what is another's under the same number.
    let shop = world.shop();
    let number = a_payable_order(&world, &shop).await;
    let amqp = Amqp::connect(&world.environment).await;
    amqp.command(CLOSE, &key(&world.hmac_shop().mch_id, &number), sent_ago(61)).await;
    world.wait_for_event(&number, "order.rejected").await;
    assert_eq!(world.order_state(&shop, &number).await.unwrap(), "payable");
    amqp.close().await;
    world.finish().await;
}
