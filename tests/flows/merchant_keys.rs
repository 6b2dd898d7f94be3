//! Changed and wrong merchant keys lose no payment.

use std::time::Duration;

use futures_util::future::join_all;
use harness::program::Program;
use harness::{Options, Shop, TestMerchant, World, eventually, fast_schedule, merchants};
use serde_json::json;
use simulator::PayOptions;
use wechatpay_v2::{ApiKey, AppId, MchId};
use worker::{CheckSchedule, Merchant, Merchants, PayableChecks};

const PAID_BY_NOTIFY: [&str; 3] = ["created by shop", "payable by reply", "paid by notify"];
const PAID_BY_QUERY: [&str; 3] = ["created by shop", "payable by reply", "paid by query"];

/// The merchants with WeChat's keys.
fn correct_keys(world: &World) -> Merchants {
    merchants::keys(&world.merchants, world.public)
}

fn new_key(world: &World) -> String {
    let key = Shop::number();
    world.add_secret(&key);
    key
}

/// The merchants with keys that WeChat does not know.
fn wrong_keys(world: &World) -> Merchants {
    let other = |merchant: &TestMerchant| TestMerchant { key: new_key(world), ..merchant.clone() };
    let merchants: Vec<_> = world.merchants.iter().map(other).collect();
    merchants::keys(&merchants, world.public)
}

/// New keys that WeChat does not know yet, with WeChat's keys as the previous ones.
fn new_and_current_keys(world: &World) -> Merchants {
    with_previous(world, |merchant| (new_key(world), merchant.key.clone()))
}

/// WeChat's keys, with others as the previous ones.
fn current_and_old_keys(world: &World) -> Merchants {
    with_previous(world, |merchant| (merchant.key.clone(), new_key(world)))
}

fn with_previous(world: &World, keys: impl Fn(&TestMerchant) -> (String, String)) -> Merchants {
    let merchants = world.merchants.iter().map(|merchant| {
        let (key, previous) = keys(merchant);
        Merchant {
            mch_id: MchId::parse(&*merchant.mch_id).unwrap(),
            appids: vec![AppId::parse(&*merchant.appid).unwrap()],
            sign_type: merchant.sign_type,
            notify_base_url: format!("http://{}", world.public),
            key: ApiKey::parse(&key).unwrap(),
            previous_key: Some(ApiKey::parse(&previous).unwrap()),
            requests_per_second: None,
        }
    });
    Merchants::of(merchants.collect()).unwrap()
}

/// Checks soon after an unknown outcome, and otherwise practically never. The fifth failure, after
/// which checks become rare, comes after 15 seconds.
fn schedule_after_failures() -> CheckSchedule {
    CheckSchedule {
        payable_checks: PayableChecks::Every(Duration::from_secs(3600)),
        on_demand_pause: Duration::from_secs(3600),
        unknown_retry_first: Duration::from_secs(1),
        ..CheckSchedule::default()
    }
}

#[tokio::test]
async fn previous_key_still_verifies() {
    let world = World::start().await;
    let mut orders = Vec::new();
    for shop in [world.md5_shop(), world.hmac_shop()] {
        let number = Shop::number();
        world.create_payable(&shop.order(&number, 9900)).await;
        orders.push((shop, number));
    }
    world.worker_merchants.replace(&new_and_current_keys(&world));
    for (shop, number) in &orders {
        world.pay(shop, number, &PayOptions::default());
        world.wait_for_state(shop, number, "paid").await;
        assert_eq!(world.transition_labels(number).await, PAID_BY_NOTIFY);
    }
    assert_eq!(world.count_notifications("bad_signature").await, 0);
    world.finish().await;
}

#[tokio::test]
async fn order_waits_and_view_says_why_with_wrong_key() {
    let world = World::start_with(Options {
        schedule: Some(schedule_after_failures()),
        ..Options::default()
    })
    .await;
    for shop in [world.md5_shop(), world.hmac_shop()] {
        world.worker_merchants.replace(&wrong_keys(&world));
        let number = Shop::number();
        let (status, view) = world.create(&shop.order(&number, 9900), Some(20)).await;
        assert_eq!((status.as_u16(), &view["state"]), (202, &json!("created")), "{view}");
        let message = view["gateway_message"].as_str().unwrap_or_default();
        assert!(message.contains("签名错误"), "{view}");
        assert_eq!(view.get("pay"), None);
        assert_eq!(world.simulator.order(&shop.mch_id, &number), None);

        world.worker_merchants.replace(&correct_keys(&world));
        world.wait_for_state(&shop, &number, "payable").await;
        let (_, view) = world.get(&shop, &number).await;
        assert_eq!(view.get("gateway_message"), None, "{view}");
        world.pay(&shop, &number, &PayOptions::default());
        world.wait_for_state(&shop, &number, "paid").await;
        assert_eq!(world.transition_labels(&number).await, PAID_BY_NOTIFY);
    }
    world.finish().await;
}

#[tokio::test]
async fn payment_notified_during_wrong_key_is_found_later() {
    let world = World::start_with(Options {
        schedule: Some(schedule_after_failures()),
        ..Options::default()
    })
    .await;
    let mut orders = Vec::new();
    for shop in [world.md5_shop(), world.hmac_shop()] {
        let number = Shop::number();
        world.create_payable(&shop.order(&number, 9900)).await;
        orders.push((shop, number));
    }
    world.worker_merchants.replace(&wrong_keys(&world));
    for (shop, number) in &orders {
        let body = world.unsent_notification(shop, number, PayOptions::default());
        world.notify_ok(&shop.mch_id, &body).await;
    }
    eventually("bad signatures", async || {
        (world.count_notifications("bad_signature").await == 2).then_some(())
    })
    .await;
    let events = world.exception_events("-", 2).await;
    assert!(events.iter().all(|event| event["exception"]["kind"] == "bad_signature"));
    for (shop, number) in &orders {
        assert_eq!(world.order_state(shop, number).await.as_deref(), Some("payable"));
    }
    world.worker_merchants.replace(&correct_keys(&world));
    for (shop, number) in &orders {
        world.wait_for_state(shop, number, "paid").await;
        assert_eq!(world.transition_labels(number).await, PAID_BY_QUERY);
        assert_eq!(world.exception_kinds(number).await, [""; 0]);
    }
    world.finish().await;
}

/// Checks with a wrong key become rare. The operator who corrects it requests a query.
#[tokio::test]
async fn permanently_wrong_key_makes_orders_unsettled() {
    let world =
        World::start_with(Options { schedule: Some(fast_schedule()), ..Options::default() }).await;
    let shop = world.md5_shop();
    let program = Program::of(&world);
    let paid = Shop::number();
    world.create_payable(&shop.order(&paid, 9900)).await;
    world.worker_merchants.replace(&wrong_keys(&world));
    let new = Shop::number();
    world.create(&shop.order(&new, 9900), Some(20)).await;
    let body = world.unsent_notification(&shop, &paid, PayOptions::default());
    world.notify_ok(&shop.mch_id, &body).await;
    for number in [&paid, &new] {
        let unsettled =
            async || (world.exception_kinds(number).await == ["unsettled"]).then_some(());
        eventually("unsettled", unsettled).await;
    }
    world.worker_merchants.replace(&correct_keys(&world));
    for number in [&paid, &new] {
        program.run_ok(&world, &["order", "requery", &shop.mch_id, number]).await;
    }
    world.wait_for_state(&shop, &paid, "paid").await;
    world.wait_for_state(&shop, &new, "payable").await;
    world.pay(&shop, &new, &PayOptions::default());
    world.wait_for_state(&shop, &new, "paid").await;
    for number in [&paid, &new] {
        world.exception_events(number, 1).await;
        let (_, view) = world.get(&shop, number).await;
        assert_eq!(view["exceptions"], json!([]), "{view}");
    }
    world.finish().await;
}

#[tokio::test]
async fn key_changed_in_flight_loses_no_order() {
    // A query that was sent with the old key must not find a payment before its notification does.
    let never = Duration::from_secs(3600);
    let schedule = CheckSchedule { payable_checks: PayableChecks::Every(never), ..fast_schedule() };
    let options = Options { workers: Some(2), schedule: Some(schedule), ..Options::default() };
    let world = World::start_with(options).await;
    let shop = world.hmac_shop();
    let (early, late): (Vec<_>, Vec<_>) =
        (0..20).map(|at| (at, Shop::number())).partition(|(at, _)| at % 2 == 0);
    let orders: Vec<_> = early.iter().map(|(_, number)| shop.order(number, 9900)).collect();
    join_all(orders.iter().map(|order| world.create_payable(order))).await;

    // The file changes first. Until WeChat changes its key, notifications verify with the previous
    // key, and calls fail.
    world.worker_merchants.replace(&new_and_current_keys(&world));
    let accepted = join_all(late.iter().map(async |(_, number)| {
        let (status, _) = world.create(&shop.order(number, 9900), None).await;
        assert_eq!(status, 202);
        world.wait_for_state(&shop, number, "created").await;
    }));
    for (_, number) in &early {
        world.pay(&shop, number, &PayOptions::default());
    }
    accepted.await;
    for (_, number) in &early {
        world.wait_for_state(&shop, number, "paid").await;
        assert_eq!(world.transition_labels(number).await, PAID_BY_NOTIFY);
    }
    world.worker_merchants.replace(&current_and_old_keys(&world));
    for (_, number) in &late {
        // The shop repeats the order: another call may still be in progress.
        eventually("payable", async || {
            let (status, view) = world.create(&shop.order(number, 9900), Some(20)).await;
            assert!(status.is_success(), "{view}");
            (view["state"] == "payable").then_some(())
        })
        .await;
        world.pay(&shop, number, &PayOptions::default());
    }
    for (_, number) in &late {
        world.wait_for_state(&shop, number, "paid").await;
    }
    assert_eq!(world.count_notifications("bad_signature").await, 0);
    world.finish().await;
}

#[tokio::test]
async fn unusable_merchants_file_leaves_keys_in_force() {
    let mut world = World::start().await;
    let shop = world.md5_shop();
    let program = Program::of(&world);
    let file = program.key_file(&shop.mch_id);
    let key = std::fs::read_to_string(&file).unwrap();
    world.stop_workers().await;
    let worker = program.start_worker(&world).await;

    let wait_for_log = async |text: &str, times: usize| {
        let count = || worker.log().matches(text).count();
        eventually(text, async || (count() >= times).then_some(())).await;
    };
    std::fs::write(&file, "too short").unwrap();
    worker.signal("HUP");
    wait_for_log("the merchants stay as they were", 1).await;
    let number = Shop::number();
    world.create_payable(&shop.order(&number, 9900)).await;
    world.pay(&shop, &number, &PayOptions::default());
    world.wait_for_state(&shop, &number, "paid").await;

    std::fs::write(&file, new_key(&world)).unwrap();
    worker.signal("HUP");
    wait_for_log("the merchants file was reread", 1).await;
    let number = Shop::number();
    let (status, view) = world.create(&shop.order(&number, 9900), Some(20)).await;
    assert_eq!((status.as_u16(), &view["state"]), (202, &json!("created")), "{view}");

    std::fs::write(&file, &key).unwrap();
    worker.signal("HUP");
    wait_for_log("the merchants file was reread", 2).await;
    world.create_payable(&shop.order(&number, 9900)).await;
    let log = worker.stop().await;
    let lines = world.lines_with_secrets(log.lines()).await;
    assert!(lines.is_empty(), "{lines:#?}");
    world.finish().await;
}
