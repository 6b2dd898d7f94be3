use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use serde_json::{Value, json};
use simulator::{
    Api, AttemptOutcome, Fault, FaultPlan, NotificationState, PayOptions, PerMille, PlannedFault,
    SeededFaults,
};
use wechatpay_v2::client::Client;
use wechatpay_v2::payment_notification::Received;
use wechatpay_v2::unifiedorder::TradeType;
use wechatpay_v2::{Advice, CallOutcome, Limits, OutTradeNo, SignType, parse_xml, verify};

use crate::client::{credentials, unified_order};
use crate::support::*;

const QUERY: &str = "/pay/orderquery";

fn seeded(seed: u64, share: u16) -> FaultPlan {
    let per_mille =
        PerMille { unifiedorder: share, orderquery: share, closeorder: share, notification: share };
    FaultPlan { seeded: Some(SeededFaults { seed, per_mille }), ..FaultPlan::default() }
}

/// What the caller observes: the status, the message and whether its signature is correct.
async fn call_once(http: &reqwest::Client, gateway: &Gateway, path: &str, number: &str) -> String {
    let body = xml(&signed(common([("out_trade_no", number)])));
    let sent = http.post(format!("{}{path}", gateway.url())).body(body).send().await;
    let Ok(response) = sent else { return "dropped".to_owned() };
    let status = response.status().as_u16();
    let body = response.text().await.unwrap();
    let Ok(fields) = parse_xml(body.as_bytes(), Limits::MESSAGE) else {
        return format!("{status}, {} unreadable bytes", body.len().min(1));
    };
    let texts = ["return_msg", "err_code", "appid", "out_trade_no"].map(|name| fields.get(name));
    format!("{status} {texts:?} {:?}", verify(&fields, &key()))
}

async fn call_times(gateway: &Gateway, path: &str, number: &str, times: usize) -> Vec<String> {
    let http = http();
    let mut answers = Vec::new();
    for _ in 0..times {
        answers.push(call_once(&http, gateway, path, number).await);
    }
    answers
}

#[tokio::test]
async fn same_seed_gives_the_same_faults() {
    let mut runs = Vec::new();
    for (seed, busy) in [(7, false), (7, true), (8, false)] {
        let gateway = gateway().await;
        gateway.create(order(NO_ENDPOINT)).await;
        gateway.set_faults(seeded(seed, 500)).unwrap();
        let first = call_times(&gateway, QUERY, ORDER_NO, 30);
        let second = call_times(&gateway, QUERY, "another_1", 30);
        let (first, second) = if busy {
            let others = async || call_times(&gateway, QUERY, "another_2", 30).await;
            let closes = call_times(&gateway, "/pay/closeorder", "another_1", 30);
            let (first, second, ..) = tokio::join!(first, second, others(), closes);
            (first, second)
        } else {
            (first.await, second.await)
        };
        assert_ne!(first, second, "each order has its own faults");
        // A new plan starts again from the seed.
        gateway.set_faults(seeded(seed, 500)).unwrap();
        assert_eq!(call_times(&gateway, QUERY, ORDER_NO, 30).await, first);
        runs.push((first, second));
    }
    assert_eq!(runs[0], runs[1], "other calls change nothing");
    assert_ne!(runs[0].0, runs[2].0, "another seed");
}

#[tokio::test]
async fn share_of_0_is_never_and_of_1000_always() {
    let gateway = gateway().await;
    gateway.create(order(NO_ENDPOINT)).await;
    for seed in 0..100 {
        gateway.set_faults(seeded(seed, 0)).unwrap();
        assert_eq!(gateway.query(ORDER_NO).await.get("result_code"), Some("SUCCESS"));
    }
    assert_eq!(
        gateway.request_counts().apis[&Api::Orderquery],
        [("SUCCESS".to_owned(), 100)].into()
    );

    gateway.set_faults(seeded(3, 1000)).unwrap();
    let started = Instant::now();
    let gateway = &gateway;
    let numbers = (0..20).map(|n| format!("number_{n}"));
    let calls = numbers.map(async |number| {
        let http = http();
        for _ in 0..10 {
            let started = Instant::now();
            let answer = call_once(&http, gateway, QUERY, &number).await;
            // The only fault with the usual answer is a delay.
            let usual = answer.contains("ORDERNOTEXIST") && answer.contains("Ok(");
            assert!(!usual || answer.contains("wx0another") || started.elapsed().as_millis() >= 1);
        }
    });
    futures_util::future::join_all(calls).await;
    assert!(started.elapsed() < DEADLINE, "delays are short");
    assert!(gateway.held_calls().is_empty());
    let outcomes = gateway.request_counts().apis[&Api::Orderquery].clone();
    let names: BTreeSet<_> = outcomes.keys().map(String::as_str).collect();
    let expected = [
        "drop_before",
        "drop_after_commit",
        "SYSTEMERROR",
        "system_error_after_commit",
        "status_5xx",
        "html",
        "empty",
        "truncated",
        "bad_signature",
        "missing_signature",
        "other_order",
        "FREQUENCY_LIMITED",
        "FAIL",
        "ORDERNOTEXIST",
        "SUCCESS",
    ];
    assert_eq!(names, expected.into(), "SUCCESS is from before");
    assert_eq!(outcomes.values().sum::<u64>(), 300);
    let most = outcomes.iter().filter(|(name, _)| *name != "SUCCESS").map(|(_, n)| *n).max();
    assert!(most.unwrap() <= 40, "evenly distributed: {outcomes:?}");
}

#[tokio::test]
async fn seeded_faults_come_as_often_as_their_share() {
    let gateway = gateway().await;
    let per_mille = PerMille { orderquery: 250, ..PerMille::default() };
    let seeded = Some(SeededFaults { seed: 11, per_mille });
    gateway.set_faults(FaultPlan { seeded, ..FaultPlan::default() }).unwrap();
    let numbers: Vec<_> = (0..40).map(|n| format!("number_{n}")).collect();
    let all = numbers.iter().map(|number| call_times(&gateway, QUERY, number, 10));
    futures_util::future::join_all(all).await;
    let closes = call_times(&gateway, "/pay/closeorder", ORDER_NO, 20).await;
    assert!(closes.iter().all(|answer| *answer == closes[0]), "each call has its own share");
    let usual = gateway.request_counts().apis[&Api::Orderquery]["ORDERNOTEXIST"];
    assert!((270..=340).contains(&usual), "{usual} of 400");
}

#[tokio::test]
async fn planned_fault_does_not_shift_the_seeded_ones() {
    let gateway = gateway().await;
    gateway.set_faults(seeded(5, 500)).unwrap();
    let usual = call_times(&gateway, QUERY, ORDER_NO, 12).await;
    let orderquery = vec![PlannedFault::new(Fault::ReturnFail("planned".to_owned()), 2)];
    gateway.set_faults(FaultPlan { orderquery, ..seeded(5, 500) }).unwrap();
    let planned = call_times(&gateway, QUERY, ORDER_NO, 12).await;
    assert!(planned[..2].iter().all(|answer| answer.contains("planned")), "{planned:?}");
    assert_eq!(planned[2..], usual[2..]);
}

#[tokio::test]
async fn client_that_retries_succeeds_in_the_end() {
    let gateway = gateway().await;
    gateway.set_faults(seeded(42, 800)).unwrap();
    let client = Client::new(&gateway.url(), None).unwrap();
    let by = credentials(SignType::HmacSha256);
    let mut repeats = 0;
    for n in 0..8 {
        let mut wanted = unified_order(TradeType::Jsapi);
        wanted.out_trade_no = OutTradeNo::parse(format!("retried-{n}")).unwrap();
        let parameters = wanted.parameters();
        let mut calls = 0;
        loop {
            calls += 1;
            assert!(calls < 100);
            match client.unifiedorder(&by, &parameters).await {
                CallOutcome::Success(_) => break,
                CallOutcome::Unknown(_) => repeats += 1,
                CallOutcome::Refused(refused) => {
                    assert_eq!(refused.advice, Advice::Retry, "{refused:?}");
                    repeats += 1;
                }
            }
        }
    }
    assert!(repeats > 8, "{repeats}");
    assert_eq!(gateway.orders().len(), 8);
}

/// How often the notification of each ordinary payment was sent.
async fn notified(seed: u64) -> BTreeMap<String, usize> {
    let gateway = gateway().await;
    let endpoint = Endpoint::start([]).await;
    let numbers: Vec<_> = (0..24).map(|n| format!("number_{n}")).collect();
    for number in &numbers {
        gateway.create(with(order(endpoint.url()), &[("out_trade_no", number)])).await;
    }
    let per_mille = PerMille { notification: 1000, ..PerMille::default() };
    let seeded = Some(SeededFaults { seed, per_mille });
    gateway.set_faults(FaultPlan { seeded, ..FaultPlan::default() }).unwrap();
    for number in &numbers {
        gateway.pay(MCH_ID, number, &PayOptions::default()).unwrap();
        assert_eq!(gateway.query(number).await.get("trade_state"), Some("SUCCESS"));
    }
    let all = || numbers.iter().flat_map(|number| gateway.notifications(MCH_ID, number));
    until("all notifications are finished", || {
        all().all(|n| n.state != NotificationState::Pending)
    })
    .await;
    assert!(all().flat_map(|n| n.attempts).all(|a| a.outcome == AttemptOutcome::Success));
    for (_, body) in endpoint.received() {
        let notification = Received::parse(&body).unwrap().verify([&key()]).unwrap();
        let payment = notification.payment().unwrap();
        let order = gateway.order(MCH_ID, payment.out_trade_no.as_str()).unwrap();
        assert_eq!(order.transaction_id.as_deref(), Some(payment.transaction_id.as_str()));
        assert_eq!(payment.total_fee.get(), 9900);
    }
    let sends = |number: &String| {
        let sent = gateway.notifications(MCH_ID, number);
        sent.iter().map(|notification| notification.attempts.len()).sum()
    };
    numbers.iter().map(|number| (number.clone(), sends(number))).collect()
}

#[tokio::test]
async fn seeded_notification_faults_vary_the_sends() {
    let (first, again, other) = tokio::join!(notified(7), notified(7), notified(8));
    assert_eq!(first, again);
    assert_ne!(first, other);
    let sends: BTreeSet<_> = first.into_values().collect();
    assert_eq!(sends, BTreeSet::from([0, 1, 2, 3]), "never, late, twice, three times");
}

#[tokio::test]
async fn payment_with_options_has_no_seeded_fault() {
    let gateway = gateway().await;
    let endpoint = Endpoint::start([]).await;
    gateway.set_faults(seeded(1, 1000)).unwrap();
    for n in 0..8 {
        let number = format!("number_{n}");
        let path = format!("/_sim/pay/{MCH_ID}/{number}");
        let options = json!({"notify_only": true, "notify_url": endpoint.url()});
        assert_eq!(gateway.control(&path, options).await.0, 200);
        let sent = || gateway.notifications(MCH_ID, &number).remove(0);
        until("it is delivered", || sent().state == NotificationState::Delivered).await;
        assert_eq!(sent().attempts.len(), 1);
    }
}

#[tokio::test]
async fn control_api_shows_checks_and_clears_seeded_faults() {
    let gateway = gateway().await;
    let wanted = json!({"seeded": {"seed": u64::MAX, "per_mille": {"orderquery": 1000}}});
    let (status, answer) = gateway.control("/_sim/faults", wanted).await;
    assert_eq!(status, 200, "{answer}");
    let shares = json!({"unifiedorder": 0, "orderquery": 1000, "closeorder": 0, "notification": 0});
    let expected = json!({"seed": u64::MAX, "per_mille": shares});
    assert_eq!(gateway.get("/_sim/faults").await.1["plan"]["seeded"], expected);

    let refused = async |seeded: Value, field: &str| {
        let (status, answer) = gateway.control("/_sim/faults", json!({"seeded": seeded})).await;
        assert_eq!(status, 400, "{seeded}");
        assert!(answer["error"].as_str().unwrap().contains(field), "{answer}");
    };
    for field in ["unifiedorder", "orderquery", "closeorder", "notification"] {
        for bad in [json!(1001), json!(-1), json!(0.5), json!(u64::MAX), json!("all"), json!(null)]
        {
            refused(json!({"seed": 1, "per_mille": {field: bad}}), field).await;
        }
    }
    let error = gateway.set_faults(seeded(1, 1001)).unwrap_err();
    assert!(error.to_string().contains("unifiedorder"), "{error}");
    for bad in [json!(-1), json!(1.5), json!("x"), json!(null)] {
        refused(json!({"seed": bad, "per_mille": {}}), "seeded.seed").await;
    }
    refused(json!({"per_mille": {}}), "seed").await;
    refused(json!({"seed": 1}), "per_mille").await;
    refused(json!({"seed": 1, "per_mille": {"refund": 1}}), "refund").await;
    let kept = gateway.get("/_sim/faults").await.1;
    assert_eq!(kept["plan"]["seeded"], expected, "a refused plan replaces nothing");

    let deleted = http().delete(format!("{}/_sim/faults", gateway.url()));
    assert_eq!(deleted.send().await.unwrap().status(), 200);
    assert_eq!(gateway.faults(), FaultPlan::default());
    assert!(gateway.get("/_sim/faults").await.1["plan"].get("seeded").is_none());
}
