//! Limits of gateway calls: the failing calls of one merchant are limited and paused, lose none of its
//! orders, and delay no other merchant.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use harness::{Options, Shop, TestMerchant, World, eventually, fast_schedule, merchants};
use serde_json::{Value, json};
use simulator::{Fault, FaultPlan, HeldCallFilter, PayOptions, PlannedFault};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use wechatpay_v2::client::Timeouts;
use wechatpay_v2::{ApiKey, MchId};
use worker::{GatewayLimits, Merchant, Merchants};

mod lanes;

/// Longer than any test.
const NEVER: Duration = Duration::from_secs(3600);
/// Two merchants share 40 calls in progress, of which at most eight are checks, half each.
const CREATES_PER_MERCHANT: usize = 16;
const CHECKS_PER_MERCHANT: usize = 4;

fn small_limits() -> GatewayLimits {
    GatewayLimits {
        concurrent_calls: 2 * (CREATES_PER_MERCHANT + CHECKS_PER_MERCHANT),
        concurrent_checks: 2 * CHECKS_PER_MERCHANT,
        // Longer than a test holds a call, and shorter than its lease.
        timeouts: Timeouts { call: Duration::from_secs(20), ..Timeouts::default() },
        ..GatewayLimits::default()
    }
}

async fn world_with(gateway_limits: GatewayLimits) -> World {
    let schedule = Some(fast_schedule());
    let gateway_limits = Some(gateway_limits);
    World::start_with(Options { schedule, gateway_limits, ..Options::default() }).await
}

/// Injects a fault into every call of this merchant.
fn fail_all_calls(world: &World, shop: &Shop, fault: Fault) {
    let mch_id = Some(MchId::parse(&*shop.mch_id).unwrap());
    let every = || {
        vec![PlannedFault { mch_id: mch_id.clone(), ..PlannedFault::new(fault.clone(), 100_000) }]
    };
    let plan = FaultPlan {
        unifiedorder: every(),
        orderquery: every(),
        closeorder: every(),
        ..FaultPlan::default()
    };
    world.simulator.set_faults(plan).unwrap();
}

fn remove_faults(world: &World) {
    world.simulator.set_faults(FaultPlan::default()).unwrap();
    world.simulator.release(&HeldCallFilter::default());
}

/// The merchants of the world with a change.
fn changed_merchants(
    world: &World,
    change: impl Fn(&TestMerchant, Merchant) -> Merchant,
) -> Merchants {
    let right = merchants::keys(&world.merchants, world.public);
    let merchants = world.merchants.iter().map(|merchant| {
        let mch_id = MchId::parse(&*merchant.mch_id).unwrap();
        change(merchant, Merchant::clone(&right.get(&mch_id).unwrap()))
    });
    Merchants::of(merchants.collect()).unwrap()
}

/// Posts this many orders without waiting for their outcome.
async fn post_orders(world: &World, shop: &Shop, count: usize) -> Vec<String> {
    let numbers: Vec<String> = (0..count).map(|_| Shop::number()).collect();
    let orders: Vec<Value> = numbers.iter().map(|number| shop.order(number, 9900)).collect();
    for (status, answer) in join_all(orders.iter().map(|order| world.create(order, None))).await {
        assert_eq!(status, 202, "{answer}");
    }
    numbers
}

/// Creates and pays this many orders.
async fn create_and_pay(world: &World, shop: &Shop, count: usize) {
    let numbers: Vec<String> = (0..count).map(|_| Shop::number()).collect();
    let orders: Vec<Value> = numbers.iter().map(|number| shop.order(number, 9900)).collect();
    // Fewer at a time than the merchant's permits, so that none is deferred.
    for orders in orders.chunks(CREATES_PER_MERCHANT / 2) {
        join_all(orders.iter().map(|order| world.create_payable(order))).await;
    }
    pay_and_expect_paid(world, shop, &numbers).await;
}

/// Waits until the orders are payable, pays them and expects no exception.
async fn pay_and_expect_paid(world: &World, shop: &Shop, numbers: &[String]) {
    for number in numbers {
        eventually(&format!("{number} in state payable"), async || {
            let state = world.order_state(shop, number).await?;
            (state == "payable").then_some(())
        })
        .await;
        world.pay(shop, number, &PayOptions::default());
    }
    for number in numbers {
        world.wait_for_state(shop, number, "paid").await;
        assert_eq!(world.exception_kinds(number).await, [""; 0], "{number}");
    }
}

/// How often the gateway was called for these orders.
fn calls(world: &World, shop: &Shop, numbers: &[String]) -> u64 {
    let calls = numbers.iter().map(|number| world.calls(shop, number));
    calls.map(|calls| calls.unifiedorder + calls.orderquery + calls.closeorder).sum()
}

/// How many calls the gateway answered with FAIL.
fn failures(world: &World) -> u64 {
    let apis = world.simulator.request_counts().apis;
    apis.values().filter_map(|outcomes| outcomes.get("FAIL")).sum()
}

fn held_calls_of(world: &World, shop: &Shop) -> usize {
    let held = world.simulator.held_calls();
    held.iter().filter(|call| call.mch_id.as_ref() == Some(&shop.mch_id)).count()
}

/// The sum of the unknown outcomes counted for a merchant's orders.
async fn attempts(world: &World, shop: &Shop) -> i64 {
    let sum = "select sum(unknown_count)::bigint from orders where mch_id = $1";
    let sum = sqlx::query_scalar(sum).bind(&shop.mch_id);
    sum.fetch_one(&world.environment.pool).await.unwrap()
}

async fn count(world: &World, shop: &Shop, which: &str) -> i64 {
    let count = format!("select count(*) from orders where mch_id = $1 and {which}");
    let count = sqlx::query_scalar(sqlx::AssertSqlSafe(count)).bind(&shop.mch_id);
    count.fetch_one(&world.environment.pool).await.unwrap()
}

#[tokio::test]
async fn hanging_calls_hold_only_their_merchants_permits() {
    let world = world_with(small_limits()).await;
    let broken = world.md5_shop();
    let healthy = world.hmac_shop();
    fail_all_calls(&world, &broken, Fault::Hold);
    let numbers = post_orders(&world, &broken, 200).await;
    let all = CREATES_PER_MERCHANT + CHECKS_PER_MERCHANT;
    eventually("a held call for every permit", async || {
        (held_calls_of(&world, &broken) == all).then_some(())
    })
    .await;
    create_and_pay(&world, &healthy, 40).await;
    assert_eq!(held_calls_of(&world, &broken), all);
    // Orders without a permit are stored, and no attempt is counted for them.
    eventually("every stored order", async || {
        (count(&world, &broken, "state = 'created'").await == 200).then_some(())
    })
    .await;
    assert_eq!(attempts(&world, &broken).await, 0);
    remove_faults(&world);
    pay_and_expect_paid(&world, &broken, &numbers).await;
    world.finish().await;
}

#[tokio::test]
async fn wrong_key_costs_few_calls_and_no_order() {
    let gateway_limits = GatewayLimits { pause_first: NEVER, pause_max: NEVER, ..small_limits() };
    let world = world_with(gateway_limits).await;
    let broken = world.md5_shop();
    let healthy = world.hmac_shop();
    let lost = Shop::number();
    world.create_payable(&broken.order(&lost, 9900)).await;
    world.worker_merchants.replace(&changed_merchants(&world, |of, merchant| {
        if of.mch_id == broken.mch_id {
            Merchant { key: ApiKey::parse(&Shop::number()).unwrap(), ..merchant }
        } else {
            merchant
        }
    }));
    let before = calls(&world, &broken, std::slice::from_ref(&lost));
    let options = PayOptions { state_only: true, ..PayOptions::default() };
    world.pay(&broken, &lost, &options);
    let mut numbers = post_orders(&world, &broken, 200).await;
    create_and_pay(&world, &healthy, 40).await;
    eventually("every stored order and ten failures", async || {
        let stored = count(&world, &broken, "state = 'created'").await == 200;
        (stored && attempts(&world, &broken).await >= 10).then_some(())
    })
    .await;

    // The breaker opens at the tenth failure. Calls that hold a permit then still run.
    let order = broken.order(&Shop::number(), 9900);
    let (status, view) = world.create(&order, Some(20)).await;
    assert_eq!((status.as_u16(), &view["state"]), (202, &json!("created")), "{view}");
    let message = view["gateway_message"].as_str().unwrap_or_default();
    assert!(message.starts_with("calls of this merchant fail at present: "), "{view}");
    assert!(message.contains("签名错误"), "{view}");
    numbers.push(order["out_trade_no"].as_str().unwrap().to_owned());
    let called = calls(&world, &broken, &numbers);
    let called_for_lost = calls(&world, &broken, std::slice::from_ref(&lost)) - before;
    let bound = 10 + CREATES_PER_MERCHANT + CHECKS_PER_MERCHANT;
    assert!(called + called_for_lost <= bound as u64, "{called} and {called_for_lost}");
    assert!(attempts(&world, &broken).await <= bound as i64, "deferred calls must not count");

    world.worker_merchants.replace(&merchants::keys(&world.merchants, world.public));
    world.wait_for_state(&broken, &lost, "paid").await;
    pay_and_expect_paid(&world, &broken, &numbers).await;
    world.finish().await;
}

#[tokio::test]
async fn failing_calls_pause_until_probe_succeeds() {
    let pause = Duration::from_millis(100);
    let gateway_limits = GatewayLimits {
        failures_max: 3,
        pause_first: pause,
        pause_max: pause * 3,
        ..small_limits()
    };
    let world = world_with(gateway_limits).await;
    let broken = world.md5_shop();
    let healthy = world.hmac_shop();
    fail_all_calls(&world, &broken, Fault::SystemError);
    let mut numbers = post_orders(&world, &broken, 40).await;
    // Calls beyond the first wave are probes.
    let first_wave = (3 + CREATES_PER_MERCHANT + CHECKS_PER_MERCHANT) as u64;
    eventually("probes", async || {
        (calls(&world, &broken, &numbers) > first_wave + 3).then_some(())
    })
    .await;

    // The next probe gets no answer, and no other call is made meanwhile.
    fail_all_calls(&world, &broken, Fault::Hold);
    eventually("a probe", async || (held_calls_of(&world, &broken) == 1).then_some(())).await;
    let before = calls(&world, &broken, &numbers);
    for _ in 0..5 {
        let order = broken.order(&Shop::number(), 9900);
        let (status, view) = world.create(&order, Some(20)).await;
        assert_eq!((status.as_u16(), &view["state"]), (202, &json!("created")), "{view}");
        numbers.push(order["out_trade_no"].as_str().unwrap().to_owned());
    }
    create_and_pay(&world, &healthy, 5).await;
    assert_eq!((held_calls_of(&world, &broken), calls(&world, &broken, &numbers)), (1, before));

    remove_faults(&world);
    pay_and_expect_paid(&world, &broken, &numbers).await;
    world.finish().await;
}

#[tokio::test]
async fn burst_above_rate_is_spread_and_no_order_lost() {
    // There is a permit for each order.
    let world = world_with(GatewayLimits::default()).await;
    let shop = world.md5_shop();
    world.worker_merchants.replace(&changed_merchants(&world, |_, merchant| Merchant {
        requests_per_second: Some(4),
        ..merchant
    }));
    let numbers: Vec<String> = (0..40).map(|_| Shop::number()).collect();
    let orders: Vec<Value> = numbers.iter().map(|number| shop.order(number, 9900)).collect();
    let answers = join_all(orders.iter().map(|order| world.create(order, Some(20)))).await;
    let with = |status: u16| answers.iter().filter(|(it, _)| it.as_u16() == status).count();
    assert_eq!(with(200) + with(202), 40, "{answers:?}");
    assert!(with(200) >= 4 && with(202) >= 4, "{answers:?}");
    for (_, view) in answers.iter().filter(|(status, _)| status.as_u16() == 202) {
        assert_eq!(view.get("gateway_message"), None, "{view}");
    }
    world.worker_merchants.replace(&merchants::keys(&world.merchants, world.public));
    pay_and_expect_paid(&world, &shop, &numbers).await;
    for number in &numbers {
        assert_eq!(world.calls(&shop, number).unifiedorder, 1, "{number}");
    }
    world.finish().await;
}

#[tokio::test]
async fn due_orders_of_one_merchant_delay_no_other_merchant() {
    let world = world_with(small_limits()).await;
    let broken = world.md5_shop();
    let healthy = world.hmac_shop();
    let numbers: Vec<String> = (0..100).map(|_| Shop::number()).collect();
    let orders: Vec<Value> = numbers.iter().map(|number| broken.order(number, 9900)).collect();
    let orders = orders.iter().map(|order| world.create(order, Some(20)));
    assert!(join_all(orders).await.iter().all(|(status, _)| status.is_success()));
    for number in &numbers {
        world.wait_for_state(&broken, number, "payable").await;
    }
    fail_all_calls(&world, &broken, Fault::Hold);
    let due = "update orders set next_check_at = now() - interval '1 hour' where mch_id = $1";
    sqlx::query(due).bind(&broken.mch_id).execute(&world.environment.pool).await.unwrap();
    eventually("held checks", async || {
        (held_calls_of(&world, &broken) == CHECKS_PER_MERCHANT).then_some(())
    })
    .await;

    let lost = Shop::number();
    world.create_payable(&healthy.order(&lost, 9900)).await;
    let options = PayOptions { state_only: true, ..PayOptions::default() };
    world.pay(&healthy, &lost, &options);
    world.wait_for_state(&healthy, &lost, "paid").await;
    assert_eq!(held_calls_of(&world, &broken), CHECKS_PER_MERCHANT);
    let overdue = "next_check_at < now() - interval '10 minutes'";
    assert!(count(&world, &broken, overdue).await >= (100 - CHECKS_PER_MERCHANT) as i64);
    remove_faults(&world);
    pay_and_expect_paid(&world, &broken, &numbers).await;
    world.finish().await;
}

/// A closing order waits during a pause and is closed afterwards.
#[tokio::test]
async fn close_during_pause_is_done_later() {
    let gateway_limits =
        GatewayLimits { failures_max: 3, pause_first: NEVER, pause_max: NEVER, ..small_limits() };
    let world = world_with(gateway_limits).await;
    let shop = world.md5_shop();
    let closing = Shop::number();
    world.create_payable(&shop.order(&closing, 9900)).await;
    fail_all_calls(&world, &shop, Fault::ReturnFail("系统繁忙".to_owned()));
    let numbers = post_orders(&world, &shop, 5).await;
    eventually("failures", async || (failures(&world) >= 3).then_some(())).await;
    let (status, view) = world.close(&shop.mch_id, &closing, Some(20)).await;
    assert_eq!((status.as_u16(), &view["state"]), (200, &json!("closing")), "{view}");
    assert_eq!(world.calls(&shop, &closing).closeorder, 0);
    remove_faults(&world);

    // A reread with the same key causes no call. One with another, wrong key causes one.
    world.worker_merchants.replace(&merchants::keys(&world.merchants, world.public));
    let before = failures(&world);
    world.update_order_row(&closing, "next_check_at = now()").await;
    create_and_pay(&world, &world.hmac_shop(), 5).await;
    assert_eq!(world.order_state(&shop, &closing).await.as_deref(), Some("closing"));
    let other = || ApiKey::parse(&Shop::number()).unwrap();
    world
        .worker_merchants
        .replace(&changed_merchants(&world, |_, merchant| Merchant { key: other(), ..merchant }));
    eventually("another call", async || (failures(&world) > before).then_some(())).await;
    world.worker_merchants.replace(&merchants::keys(&world.merchants, world.public));
    world.wait_for_state(&shop, &closing, "closed").await;
    pay_and_expect_paid(&world, &shop, &numbers).await;
    world.finish().await;
}

/// An old and still valid prepay is returned when no call is possible.
#[tokio::test]
async fn prepay_not_renewable_now_is_returned_unchanged() {
    let gateway_limits =
        GatewayLimits { failures_max: 3, pause_first: NEVER, pause_max: NEVER, ..small_limits() };
    let gateway_limits = Some(gateway_limits);
    let world = World::start_with(Options { gateway_limits, ..Options::default() }).await;
    let shop = world.md5_shop();
    let number = Shop::number();
    let order = shop.order(&number, 9900);
    let first = world.create_payable(&order).await;
    fail_all_calls(&world, &shop, Fault::ReturnFail("系统繁忙".to_owned()));
    for _ in 0..3 {
        let (status, view) = world.create(&shop.order(&Shop::number(), 9900), Some(20)).await;
        assert_eq!(status, 202, "{view}");
    }
    world.update_order_row(&number, "prepay_issued_at = now() - interval '110 minutes'").await;
    let next_check: String = world.select_order(&number, "next_check_at::text").await;
    let (status, again) = world.create(&order, Some(20)).await;
    assert_eq!((status.as_u16(), &again["prepay_id"]), (200, &first["prepay_id"]), "{again}");
    assert!(again["pay"].is_object(), "{again}");
    assert_eq!(again.get("gateway_message"), None, "{again}");
    assert!(world.select_order::<bool>(&number, "call_lease_until is null").await);
    assert_eq!(world.select_order::<String>(&number, "next_check_at::text").await, next_check);
    assert_eq!(world.calls(&shop, &number).unifiedorder, 1);
    remove_faults(&world);
    world.finish().await;
}

#[tokio::test]
async fn backup_host_takes_over_until_primary_returns() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let primary = format!("http://{}", socket.local_addr().unwrap());
    let timeouts = Timeouts { host_cooldown: Duration::from_millis(200), ..Timeouts::default() };
    let gateway_limits = Some(GatewayLimits { timeouts, ..GatewayLimits::default() });
    let options = Options { gateway_primary: Some(primary), gateway_limits, ..Options::default() };
    let world = World::start_with(options).await;
    let shop = world.md5_shop();
    create_and_pay(&world, &shop, 20).await;

    let connections = Arc::new(AtomicUsize::new(0));
    let simulator = world.simulator.url().trim_start_matches("http://").to_owned();
    tokio::spawn(forward(socket.listen(64).unwrap(), simulator, Arc::clone(&connections)));
    eventually("a connection to the primary", async || {
        create_and_pay(&world, &shop, 1).await;
        (connections.load(Ordering::SeqCst) > 0).then_some(())
    })
    .await;
    create_and_pay(&world, &shop, 20).await;
    world.finish().await;
}

/// Forwards and counts connections.
async fn forward(listener: TcpListener, to: String, connections: Arc<AtomicUsize>) {
    while let Ok((mut inside, _)) = listener.accept().await {
        connections.fetch_add(1, Ordering::SeqCst);
        let to = to.clone();
        tokio::spawn(async move {
            let mut outside = TcpStream::connect(to).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut inside, &mut outside).await;
        });
    }
}
