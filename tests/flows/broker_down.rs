//! The ingress without a broker, or with a broker whose answers are delayed: it accepts nothing
//! without a confirm, and a repeat with the same number settles every open case.

use futures_util::future::join_all;
use futures_util::join;
use harness::environment::{amqp_address, amqp_url_through};
use harness::problem::{expect_problem, kind_of};
use harness::proxy::Proxy;
use harness::{Options, Shop, World, eventually};
use reqwest::StatusCode;
use serde_json::Value;
use simulator::{AttemptOutcome, Fault, FaultPlan, HeldCallFilter, PayOptions, PlannedFault};

const JSON: (&str, &str) = ("content-type", "application/json");
const EVENTS: [&str; 3] = ["order.created", "order.payable", "order.paid"];

/// A world in which only the ingress reaches the broker through the proxy.
async fn world_with_proxy(proxy: &Proxy) -> World {
    World::start_with(Options {
        ingress_amqp_url: Some(amqp_url_through(proxy.address)),
        ..Options::default()
    })
    .await
}

async fn probe(world: &World, path: &str) -> StatusCode {
    let url = format!("http://{}{path}", world.private);
    world.http.get(url).send().await.unwrap().status()
}

/// Waits until the ingress has noticed that its broker is gone.
async fn wait_until_not_ready(world: &World) {
    eventually("an ingress that is not ready", async || {
        (probe(world, "/readyz").await == 503).then_some(())
    })
    .await;
}

fn is_fail_answer(body: &str) -> bool {
    body.contains("<return_code><![CDATA[FAIL]]></return_code>")
}

/// Repeats the order until it is payable, as a shop should.
async fn repeat_until_payable(world: &World, order: &Value) {
    eventually("the payable order", async || {
        let (status, view) = world.create(order, Some(20)).await;
        match status.as_u16() {
            200 if view["state"] == "payable" => Some(()),
            202 | 503 | 504 => None,
            _ => panic!("{status} {view}"),
        }
    })
    .await;
}

#[tokio::test]
async fn ingress_without_broker_accepts_nothing_until_it_returns() {
    let proxy = Proxy::to(amqp_address(), false).await;
    let world = world_with_proxy(&proxy).await;
    let shop = world.md5_shop();
    let number = Shop::number();
    let order = shop.order(&number, 9900);

    assert_eq!(probe(&world, "/healthz").await, 200);
    assert_eq!(probe(&world, "/readyz").await, 503);
    for headers in [&[JSON][..], &[JSON, ("prefer", "wait=1")]] {
        let problem = expect_problem(world.post(order.to_string(), headers).await).await;
        assert_eq!(problem["status"], 503, "{problem}");
        assert_eq!(kind_of(&problem), "not-accepted");
    }
    let (status, problem) = world.get(&shop, &number).await;
    assert!([503, 504].contains(&status.as_u16()), "{status} {problem}");
    let (status, body) = world.notify(&shop.mch_id, b"<xml></xml>".to_vec()).await;
    assert_eq!(status, 503);
    assert!(is_fail_answer(&body), "{body}");
    // An invalid order is refused without a broker.
    let problem = expect_problem(world.post("[]", &[JSON]).await).await;
    assert_eq!(problem["status"], 400);
    assert!(world.ledger_rows().await.is_empty());

    proxy.open();
    world.wait_until_ingress_ready().await;
    let (status, missing) = world.get(&shop, &number).await;
    assert_eq!(status, 404, "nothing was written: {missing}");
    world.create_payable(&order).await;
    world.pay(&shop, &number, &PayOptions::default());
    world.expect_events(&number, &EVENTS).await;
    world.finish().await;
}

#[tokio::test]
async fn notification_without_broker_is_repeated_until_accepted() {
    let proxy = Proxy::to(amqp_address(), true).await;
    let world = world_with_proxy(&proxy).await;
    world.wait_until_ingress_ready().await;
    let shop = world.md5_shop();
    let number = Shop::number();
    world.create_payable(&shop.order(&number, 9900)).await;
    proxy.close();
    wait_until_not_ready(&world).await;
    world.pay(&shop, &number, &PayOptions::default());
    let attempts = || {
        let notifications = world.simulator.notifications(&shop.mch_id, &number);
        notifications.into_iter().flat_map(|it| it.attempts)
    };
    eventually("a refused attempt", async || attempts().next()).await;
    let first = attempts().next().unwrap();
    assert_eq!((first.status, first.outcome), (Some(503), AttemptOutcome::Status));
    assert_eq!(world.order_state(&shop, &number).await.unwrap(), "payable");

    proxy.open();
    world.expect_events(&number, &EVENTS).await;
    let successes = || attempts().filter(|it| it.outcome == AttemptOutcome::Success);
    eventually("the SUCCESS", async || successes().next()).await;
    assert_eq!(successes().count(), 1, "SUCCESS ends the repeats");
    world.finish().await;
}

#[tokio::test]
async fn orders_cut_off_from_broker_are_settled_by_repeating() {
    const CALLS_IN_PROGRESS: usize = 5;
    let proxy = Proxy::to(amqp_address(), true).await;
    let world = world_with_proxy(&proxy).await;
    world.wait_until_ingress_ready().await;
    let shop = world.md5_shop();
    let plan =
        FaultPlan { unifiedorder: vec![PlannedFault::new(Fault::Hold, 5)], ..FaultPlan::default() };
    world.simulator.set_faults(plan).unwrap();

    let orders: Vec<Value> = (0..120).map(|fee| shop.order(&Shop::number(), fee + 1)).collect();
    let (before, after) = orders.split_at(100);
    let waits = [None, Some(5)];
    let posted = before.iter().zip(waits.iter().cycle());
    let posted = join_all(posted.map(|(order, wait)| world.create(order, *wait)));
    let cut = async {
        eventually("held calls", async || {
            (world.simulator.held_calls().len() == CALLS_IN_PROGRESS).then_some(())
        })
        .await;
        proxy.close();
        let late = after.iter().map(|order| world.create(order, None));
        let late = join_all(late).await;
        world.simulator.release(&HeldCallFilter::default());
        late
    };
    let (answers, late) = join!(posted, cut);

    let mut rejected = 0;
    for (status, body) in answers.into_iter().chain(late) {
        match status.as_u16() {
            200 | 202 => {}
            503 => assert_eq!(kind_of(&body), "not-accepted"),
            504 => assert_eq!(kind_of(&body), "unknown"),
            _ => panic!("{status} {body}"),
        }
        rejected += usize::from(status.is_server_error());
    }
    // The workers have some orders whose confirm did not reach the ingress.
    assert!(rejected >= after.len(), "{rejected}");

    proxy.open();
    world.wait_until_ingress_ready().await;
    for order in &orders {
        repeat_until_payable(&world, order).await;
    }
    for order in &orders {
        let number = order["out_trade_no"].as_str().unwrap();
        world.expect_events(number, &EVENTS[..2]).await;
        let (_, view) = world.get(&shop, number).await;
        assert_eq!(view["total_fee"], order["total_fee"]);
    }
    world.finish().await;
}

#[tokio::test]
async fn lost_confirm_is_unknown_and_repeat_settles_it() {
    let proxy = Proxy::to(amqp_address(), true).await;
    let world = world_with_proxy(&proxy).await;
    world.wait_until_ingress_ready().await;
    let shop = world.md5_shop();
    let first = Shop::number();
    world.create_payable(&shop.order(&first, 100)).await;
    let notification = world.unsent_notification(&shop, &first, PayOptions::default());

    proxy.delay_answers();
    let orders = [1, 2].map(|fee| shop.order(&Shop::number(), fee));
    let waiting = [JSON, ("prefer", "wait=20")];
    let (plain, waited, (got, _), (notified, body)) = join!(
        world.post(orders[0].to_string(), &[JSON]),
        world.post(orders[1].to_string(), &waiting),
        world.get(&shop, &first),
        world.notify(&shop.mch_id, notification),
    );
    for response in [plain, waited] {
        let problem = expect_problem(response).await;
        assert_eq!(problem["status"], 504, "{problem}");
        assert_eq!(kind_of(&problem), "unknown");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("same out_trade_no"), "{detail}");
    }
    assert_eq!(got, 504);
    assert_eq!(notified, 503);
    assert!(is_fail_answer(&body), "{body}");

    // The broker had accepted all of them.
    world.wait_for_event(&first, "order.paid").await;
    for order in &orders {
        let number = order["out_trade_no"].as_str().unwrap();
        world.wait_for_state(&shop, number, "payable").await;
    }
    proxy.open();
    world.wait_until_ingress_ready().await;
    for order in &orders {
        repeat_until_payable(&world, order).await;
        let number = order["out_trade_no"].as_str().unwrap();
        world.expect_events(number, &EVENTS[..2]).await;
        let calls = world.simulator.calls(&shop.mch_id, number);
        assert_eq!(calls.unifiedorder, 1);
    }
    world.finish().await;
}
