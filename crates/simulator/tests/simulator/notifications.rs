use std::time::Duration;

use serde_json::json;
use simulator::{AttemptOutcome, Config, NotificationState, NotificationView, PayOptions};
use time::OffsetDateTime;
use wechatpay_v2::payment_notification::{Received, Verified};
use wechatpay_v2::{Limits, SignType, parse_xml};

use crate::support::*;

fn verified(body: &[u8]) -> Verified {
    Received::parse(body).unwrap().verify([&key()]).unwrap()
}

async fn settled(gateway: &Gateway, number: &str) -> NotificationView {
    let last = || gateway.notifications(MCH_ID, number).pop();
    until("the notification is settled", || {
        last().is_some_and(|n| n.state != NotificationState::Pending)
    })
    .await;
    last().unwrap()
}

#[tokio::test]
async fn arrive_as_wechat_writes_them() {
    let (gateway, endpoint) = (gateway().await, Endpoint::start([]).await);
    let hmac = [("out_trade_no", "hmac_1"), ("sign_type", "HMAC-SHA256")];
    gateway.create(order(endpoint.url())).await;
    gateway.create(with(order(endpoint.url()), &hmac)).await;
    let before = OffsetDateTime::now_utc() - time::Duration::seconds(1);
    let path = format!("/_sim/pay/{MCH_ID}/{NO}");
    let (status, answer) = gateway.control(&path, json!({})).await;
    assert_eq!(status, 200, "{answer}");
    assert!(answer.get("body").is_none());

    let body = endpoint.bodies(1).await.remove(0);
    let (headers, _) = endpoint.received().remove(0);
    assert_eq!(headers["content-type"], "text/xml");
    let text = std::str::from_utf8(&body).unwrap();
    assert!(text.contains("<total_fee>9900</total_fee>"), "{text}");
    assert!(text.contains("<attach><![CDATA[shop=7;src=mini]]></attach>"), "{text}");
    assert!(!text.contains("sign_type"), "{text}");
    let told = verified(&body);
    assert_eq!(told.sign_type(), SignType::Md5);
    let payment = told.payment().unwrap();
    assert_eq!(payment.transaction_id.as_str(), answer["transaction_id"]);
    assert_eq!(payment.time_end.to_string(), answer["time_end"]);
    assert!(payment.time_end.instant() >= before);
    assert_eq!(payment.out_trade_no.as_str(), NO);
    assert_eq!(payment.openid.unwrap().as_str(), OPENID);
    assert_eq!(payment.cash_fee.unwrap().get(), 9900);

    gateway.pay(MCH_ID, "hmac_1", &PayOptions::default()).unwrap();
    let body = endpoint.bodies(2).await.remove(1);
    assert_eq!(verified(&body).sign_type(), SignType::HmacSha256);
    assert!(!parse_xml(&body, Limits::MESSAGE).unwrap().contains("sign_type"));
    assert_eq!(settled(&gateway, "hmac_1").await.attempts.len(), 1);
}

#[tokio::test]
async fn repeat_until_the_exact_answer() {
    let config = Config { time_scale: 100_000.0, ..config() };
    let gateway = gateway_with(config).await;
    let endpoint = Endpoint::start([
        (500, SUCCESS),
        (200, "success"),
        (200, "{\"return_code\":\"SUCCESS\"}"),
        (200, "<xml><return_code>FAIL</return_code></xml>"),
        (200, "<xml><return_code> SUCCESS</return_code></xml>"),
        (302, SUCCESS),
        (200, ""),
        (200, "<xml><return_code>SUCCESS</return_code></xml>"),
    ])
    .await;
    gateway.create(order(endpoint.url())).await;
    gateway.pay(MCH_ID, NO, &PayOptions::default()).unwrap();
    let notification = settled(&gateway, NO).await;
    assert_eq!(notification.state, NotificationState::Delivered);
    let outcomes: Vec<_> = notification.attempts.iter().map(|a| a.outcome).collect();
    use AttemptOutcome::{Fail, Status, Success, Unreadable};
    let expected = [Status, Unreadable, Unreadable, Fail, Fail, Status, Unreadable, Success];
    assert_eq!(outcomes, expected);
    let bodies = endpoint.bodies(8).await;
    assert_eq!(bodies.len(), 8);
    assert!(bodies.iter().all(|body| *body == bodies[0]), "repeats are the same bytes");
}

#[tokio::test]
async fn end_after_sixteen_sends() {
    let config = Config { time_scale: 1_000_000.0, ..config() };
    let gateway = gateway_with(config).await;
    let endpoint = Endpoint::start([(503, ""); 20]).await;
    gateway.create(order(endpoint.url())).await;
    let options = PayOptions { fresh_nonce: true, ..PayOptions::default() };
    gateway.pay(MCH_ID, NO, &options).unwrap();
    let notification = settled(&gateway, NO).await;
    assert_eq!(notification.state, NotificationState::Exhausted);
    assert_eq!(notification.attempts.len(), 16);
    assert_eq!(notification.next_at, None);
    let bodies = endpoint.bodies(16).await;
    assert_ne!(bodies[0], bodies[15], "a fresh nonce makes other bytes");
    for body in bodies {
        verified(&body);
    }
}

#[tokio::test]
async fn keep_wechats_schedule_unscaled() {
    let config = Config { time_scale: 1.0, ..config() };
    let gateway = gateway_with(config).await;
    gateway.create(order(NOWHERE)).await;
    gateway.pay(MCH_ID, NO, &PayOptions::default()).unwrap();
    let first = || gateway.notifications(MCH_ID, NO).remove(0);
    until("the first repeat is scheduled", || first().next_at.is_some()).await;
    let notification = first();
    assert_eq!(notification.attempts[0].outcome, AttemptOutcome::Unreachable);
    assert_eq!(notification.attempts[0].status, None);
    let pause = notification.next_at.unwrap() - notification.attempts[0].at;
    assert!((15..20).contains(&pause.whole_seconds()), "{pause}");
    assert_eq!(notification.state, NotificationState::Pending);
}

#[tokio::test]
async fn do_not_wait_for_an_endpoint_for_ever() {
    let config =
        Config { notify_timeout: Duration::from_millis(50), time_scale: 1_000_000.0, ..config() };
    let gateway = gateway_with(config).await;
    // Accepts connections and never answers.
    let silent = listener().await;
    let url = format!("http://{}/notify", silent.local_addr().unwrap());
    gateway.create(order(&url)).await;
    gateway.pay(MCH_ID, NO, &PayOptions::default()).unwrap();
    let notification = settled(&gateway, NO).await;
    assert_eq!(notification.state, NotificationState::Exhausted);
    let outcomes = notification.attempts.iter().map(|attempt| attempt.outcome);
    assert_eq!(outcomes.collect::<Vec<_>>(), [AttemptOutcome::Timeout; 16]);
}

#[tokio::test]
async fn come_as_often_as_they_are_told_to() {
    let (gateway, endpoint) = (gateway().await, Endpoint::start([]).await);
    for (n, (times, concurrently)) in [(3, false), (3, true)].into_iter().enumerate() {
        let number = format!("number_{n}");
        gateway.create(with(order(endpoint.url()), &[("out_trade_no", &number)])).await;
        let options = PayOptions { notify: Some(times), concurrently, ..PayOptions::default() };
        gateway.pay(MCH_ID, &number, &options).unwrap();
        assert_eq!(settled(&gateway, &number).await.attempts.len(), 3, "all, although answered");
    }
    gateway.create(order(endpoint.url())).await;
    let never = PayOptions { notify: Some(0), ..PayOptions::default() };
    gateway.pay(MCH_ID, NO, &never).unwrap();
    assert!(gateway.notifications(MCH_ID, NO).is_empty());
    assert_eq!(gateway.query(NO).await.get("trade_state"), Some("SUCCESS"));
    assert_eq!(endpoint.received().len(), 6);

    // A repeat about a payment that is known tells the same payment.
    let again = PayOptions { notify_only: true, ..PayOptions::default() };
    let told = gateway.pay(MCH_ID, NO, &again).unwrap();
    let known = gateway.order(MCH_ID, NO).unwrap().transaction_id.unwrap();
    assert_eq!(told.transaction_id.as_str(), known);
    endpoint.bodies(7).await;
    assert_eq!(gateway.order(MCH_ID, NO).unwrap().payments.len(), 1);
}

#[tokio::test]
async fn come_late_and_elsewhere_when_told_to() {
    let (gateway, endpoint) = (gateway().await, Endpoint::start([]).await);
    gateway.create(order(NOWHERE)).await;
    let options = json!({"delay_ms": 100, "notify_url": endpoint.url()});
    let (status, _) = gateway.control(&format!("/_sim/pay/{MCH_ID}/{NO}"), options).await;
    assert_eq!(status, 200);
    // The query knows of it while the notification is still on its way.
    assert_eq!(gateway.query(NO).await.get("trade_state"), Some("SUCCESS"));
    let notification = settled(&gateway, NO).await;
    assert_eq!(notification.notify_url, endpoint.url());
    assert_eq!(notification.state, NotificationState::Delivered);
}

#[tokio::test]
async fn tell_a_second_and_a_late_payment() {
    let (gateway, endpoint) = (gateway().await, Endpoint::start([]).await);
    gateway.create(order(endpoint.url())).await;
    let path = format!("/_sim/pay/{MCH_ID}/{NO}");
    let second = json!({"second_payment": true});
    assert_eq!(gateway.control(&path, second.clone()).await.0, 409, "not paid yet");
    let first = gateway.control(&path, json!({})).await.1;
    let (status, refused) = gateway.control(&path, json!({})).await;
    assert_eq!((status, &refused["error"]), (409, &json!("the order is paid")));
    let second = gateway.control(&path, second).await.1;
    assert_ne!(first["transaction_id"], second["transaction_id"]);
    let told = endpoint.bodies(2).await;
    let ids = told.iter().map(|body| verified(body).payment().unwrap().transaction_id);
    let ids: std::collections::BTreeSet<_> = ids.map(|id| id.to_string()).collect();
    assert_eq!(ids.len(), 2);
    assert_eq!(gateway.order(MCH_ID, NO).unwrap().payments.len(), 2);

    let late = "late_1";
    gateway.create(with(order(endpoint.url()), &[("out_trade_no", late)])).await;
    gateway.close(late).await;
    let path = format!("/_sim/pay/{MCH_ID}/{late}");
    assert_eq!(gateway.control(&path, json!({})).await.0, 409);
    let given = json!({"force": true, "transaction_id": "4200009876202607219999999999"});
    assert_eq!(gateway.control(&path, given).await.0, 200);
    let found = gateway.query(late).await;
    assert_eq!(found.get("trade_state"), Some("SUCCESS"));
    assert_eq!(found.get("transaction_id"), Some("4200009876202607219999999999"));
}
