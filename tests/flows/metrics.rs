//! The metrics of a worker, which runs as its own process so that its counters are its own.

use std::collections::BTreeMap;

use harness::program::{Program, ProgramProcess};
use harness::{Shop, World, eventually};
use simulator::{PayOptions, Signing};
use wechatpay_v2::Fen;

/// The samples of a scrape by name, with sorted labels.
type Samples = BTreeMap<String, f64>;

async fn scrape(world: &World, worker: &ProgramProcess) -> Samples {
    let url = format!("http://{}/metrics", worker.address);
    let text = world.http.get(url).send().await.unwrap().text().await.unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (sorted(name), value.parse().unwrap())
    };
    lines.map(sample).collect()
}

/// A sample's name with its labels in alphabetical order.
fn sorted(name: &str) -> String {
    let Some((name, labels)) = name.split_once('{') else {
        return name.to_owned();
    };
    let mut labels: Vec<_> = labels.trim_end_matches('}').split(',').collect();
    labels.sort_unstable();
    format!("{name}{{{}}}", labels.join(","))
}

/// The sum of a metric over all labels.
fn sum(samples: &Samples, name: &str) -> f64 {
    let labelled = format!("{name}{{");
    let of_name = samples.iter().filter(|(it, _)| *it == name || it.starts_with(&labelled));
    of_name.map(|(_, value)| value).sum()
}

fn has_metric(samples: &Samples, name: &str) -> bool {
    samples.keys().any(|it| it == name || it.starts_with(&format!("{name}{{")))
}

/// Waits until the samples have these values: gauges are measured every few seconds.
async fn expect_samples(
    world: &World,
    worker: &ProgramProcess,
    expected: &[(&str, f64)],
) -> Samples {
    wait_for_samples(world, worker, &format!("{expected:?}"), |samples| {
        expected.iter().all(|(name, value)| samples.get(*name) == Some(value))
    })
    .await
}

/// Scrapes until the samples satisfy a condition. Counters rise after the counted event, and a gauge
/// exists after its first measurement.
async fn wait_for_samples(
    world: &World,
    worker: &ProgramProcess,
    what: &str,
    condition: impl Fn(&Samples) -> bool,
) -> Samples {
    eventually(what, async || {
        let samples = scrape(world, worker).await;
        condition(&samples).then_some(samples)
    })
    .await
}

fn queue_depth(world: &World, queue: &str) -> String {
    format!("wxpay_queue_messages{{queue=\"{}.{queue}\"}}", world.environment.namespace)
}

#[tokio::test]
async fn counts_of_five_paid_orders_and_failures_are_exact() {
    let mut world = World::start().await;
    let program = Program::of(&world);
    world.stop_workers().await;
    let worker = program.start_worker(&world).await;
    let shop = world.md5_shop();

    let numbers: Vec<_> = (0..5).map(|_| Shop::number()).collect();
    for number in &numbers {
        world.create_payable(&shop.order(number, 9900)).await;
        world.pay(&shop, number, &PayOptions::default());
        world.wait_for_event(number, "order.paid").await;
    }
    let open = Shop::number();
    world.create_payable(&shop.order(&open, 9900)).await;
    let (status, _) = world.get(&shop, &open).await;
    assert_eq!(status, 200);
    let wrong = PayOptions {
        total_fee: Some(Fen::new(1).unwrap()),
        notify_only: true,
        ..PayOptions::default()
    };
    let forged = PayOptions { sign: Signing::Wrong, notify_only: true, ..PayOptions::default() };
    for options in [wrong, forged] {
        let body = world.unsent_notification(&shop, &open, options);
        world.notify_ok(&shop.mch_id, &body).await;
    }
    let (status, problem) = world.create(&shop.order(&open, 1), Some(20)).await;
    assert_eq!(status, 409, "{problem}");
    let body = world.unsent_notification(
        &shop,
        &open,
        PayOptions { notify_only: true, ..PayOptions::default() },
    );
    world.notify_ok("1999999999", &body).await;

    let queues = ["orders", "notifications", "orders.parked", "notifications.parked", "unrouted"]
        .map(|queue| queue_depth(&world, queue));
    let mut expected = vec![
        (r#"wxpay_notifications_total{result="applied"}"#, 5.0),
        (r#"wxpay_notifications_total{result="exception"}"#, 1.0),
        (r#"wxpay_notifications_total{result="bad_signature"}"#, 1.0),
        (r#"wxpay_notifications_total{result="foreign_merchant"}"#, 1.0),
        (r#"wxpay_commands_total{result="done",type="create"}"#, 7.0),
        (r#"wxpay_commands_total{result="done",type="query"}"#, 1.0),
        // The creation of an order counts as a transition from `none`.
        (r#"wxpay_transitions_total{from="none",to="created"}"#, 6.0),
        (r#"wxpay_transitions_total{from="created",to="payable"}"#, 6.0),
        (r#"wxpay_transitions_total{from="payable",to="paid"}"#, 5.0),
        (r#"wxpay_exceptions_open{kind="amount_mismatch"}"#, 1.0),
        (r#"wxpay_exceptions_open{kind="bad_signature"}"#, 1.0),
        (r#"wxpay_exceptions_open{kind="unsettled"}"#, 0.0),
        (r#"wxpay_gateway_requests_total{api="unifiedorder",outcome="yes"}"#, 6.0),
        (r#"wxpay_gateway_request_duration_seconds_count{api="unifiedorder"}"#, 6.0),
        ("wxpay_outbox_pending", 0.0),
        ("wxpay_outbox_oldest_seconds", 0.0),
        (r#"wxpay_oldest_unsettled_seconds{state="created"}"#, 0.0),
        (r#"wxpay_oldest_unsettled_seconds{state="closing"}"#, 0.0),
        (r#"wxpay_inflight{kind="orders"}"#, 0.0),
        (r#"wxpay_inflight{kind="notifications"}"#, 0.0),
        (r#"wxpay_build_info{service="worker",version="0.1.0"}"#, 1.0),
        (r#"wxpay_broker_connected{connection="wxpay-worker consume"}"#, 1.0),
        (r#"wxpay_broker_connected{connection="wxpay-worker publish"}"#, 1.0),
    ];
    expected.extend(queues.iter().map(|name| (name.as_str(), 0.0)));
    expect_samples(&world, &worker, &expected).await;
    // One order is still open. There are at least 20 events: five orders with three each, one with
    // two, two exceptions and one rejection. Every query is counted.
    let samples = wait_for_samples(&world, &worker, "the other samples", |samples| {
        let oldest = samples[r#"wxpay_oldest_unsettled_seconds{state="payable"}"#];
        let confirms = sum(samples, "wxpay_publish_confirm_seconds_count");
        let orderqueries = sum(samples, "wxpay_gateway_requests_total") - 6.0;
        let queries = world.simulator.calls(&shop.mch_id, &open).orderquery;
        oldest > 0.0 && confirms >= 20.0 && (orderqueries - queries as f64).abs() < f64::EPSILON
    })
    .await;

    let contract = [
        "wxpay_notifications_total",
        "wxpay_commands_total",
        "wxpay_transitions_total",
        "wxpay_exceptions_open",
        "wxpay_gateway_requests_total",
        "wxpay_gateway_request_duration_seconds_bucket",
        "wxpay_publish_confirm_seconds_bucket",
        "wxpay_outbox_pending",
        "wxpay_outbox_oldest_seconds",
        "wxpay_oldest_unsettled_seconds",
        "wxpay_queue_messages",
        "wxpay_broker_connected",
        "wxpay_inflight",
        "wxpay_build_info",
    ];
    for name in contract {
        assert!(has_metric(&samples, name), "{name} is missing: {:#?}", samples.keys());
    }
    for secret in world.secrets().await {
        assert!(!samples.keys().any(|name| name.contains(&secret)), "a label contains a secret");
    }
    worker.stop().await;
    world.finish().await;
}

#[tokio::test]
async fn open_breaker_is_visible_for_its_merchant_only() {
    let mut world = World::start().await;
    let program = Program::of(&world);
    world.stop_workers().await;
    let shop = world.md5_shop();
    let other = world.hmac_shop();
    let file = program.key_file(&shop.mch_id);
    let key = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, Shop::number()).unwrap();
    let worker = program.start_worker(&world).await;
    let of =
        |name: &str, shop: &Shop| format!("wxpay_gateway_{name}{{mch_id=\"{}\"}}", shop.mch_id);
    let numbers: Vec<_> = (0..12).map(|_| Shop::number()).collect();
    for number in &numbers {
        let (status, view) = world.create(&shop.order(number, 9900), Some(20)).await;
        assert_eq!(status, 202, "{view}");
    }
    let number = Shop::number();
    world.create_payable(&other.order(&number, 9900)).await;
    let expected = [
        (of("breaker_state", &shop), 2.0),
        (of("breaker_state", &other), 0.0),
        (of("calls_under_way", &other), 0.0),
        (r#"wxpay_gateway_host_requests_total{host="primary",outcome="unreachable"}"#.into(), 0.0),
    ];
    let expected: Vec<_> = expected.iter().map(|(name, value)| (&**name, *value)).collect();
    expect_samples(&world, &worker, &expected).await;
    let deferred = |shop: &Shop| {
        let name = "wxpay_gateway_deferred_total";
        format!("{name}{{mch_id=\"{}\",reason=\"breaker\"}}", shop.mch_id)
    };
    // Ten failures and one success were sent.
    let sent = r#"wxpay_gateway_host_requests_total{host="primary",outcome="sent"}"#;
    let samples = wait_for_samples(&world, &worker, "a deferred call", |samples| {
        samples.get(&deferred(&shop)).is_some_and(|count| *count >= 1.0) && samples[sent] >= 11.0
    })
    .await;
    assert_eq!(samples.get(&deferred(&other)), None);

    std::fs::write(&file, &key).unwrap();
    worker.signal("HUP");
    expect_samples(&world, &worker, &[(&of("breaker_state", &shop), 0.0)]).await;
    for number in &numbers {
        world.wait_for_state(&shop, number, "payable").await;
    }
    worker.stop().await;
    world.finish().await;
}

#[tokio::test]
async fn gauges_exist_before_first_order() {
    let mut world = World::start().await;
    let program = Program::of(&world);
    world.stop_workers().await;
    let worker = program.start_worker(&world).await;
    let samples = expect_samples(
        &world,
        &worker,
        &[
            ("wxpay_outbox_pending", 0.0),
            (r#"wxpay_oldest_unsettled_seconds{state="payable"}"#, 0.0),
            (r#"wxpay_exceptions_open{kind="contradiction"}"#, 0.0),
        ],
    )
    .await;
    assert!(has_metric(&samples, "wxpay_build_info"), "{samples:#?}");
    expect_samples(&world, &worker, &[(&queue_depth(&world, "unrouted"), 0.0)]).await;
    let log = worker.stop().await;
    assert!(log.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
    assert!(log.contains("draining"));
    world.finish().await;
}
