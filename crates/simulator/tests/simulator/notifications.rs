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

async fn finished(gateway: &Gateway, number: &str) -> NotificationView {
    let last = || gateway.notifications(MCH_ID, number).pop();
    until("the notification is finished", || {
        last().is_some_and(|n| n.state != NotificationState::Pending)
    })
    .await;
    last().unwrap()
}

#[tokio::test]
async fn notification_has_wechats_form() {
    let gateway = gateway().await;
    let endpoint = Endpoint::start([]).await;
    let hmac = [("out_trade_no", "hmac_1"), ("sign_type", "HMAC-SHA256")];
    gateway.create(order(endpoint.url())).await;
    gateway.create(with(order(endpoint.url()), &hmac)).await;
    let before = OffsetDateTime::now_utc() - time::Duration::seconds(1);
    let path = format!("/_sim/pay/{MCH_ID}/{ORDER_NO}");
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
    let notification = verified(&body);
    assert_eq!(notification.sign_type(), SignType::Md5);
    let payment = notification.payment().unwrap();
    assert_eq!(payment.transaction_id.as_str(), answer["transaction_id"]);
    assert_eq!(payment.time_end.to_string(), answer["time_end"]);
    assert!(payment.time_end.instant() >= before);
    assert_eq!(payment.out_trade_no.as_str(), ORDER_NO);
    assert_eq!(payment.openid.unwrap().as_str(), OPENID);
    assert_eq!(payment.cash_fee.unwrap().get(), 9900);

    gateway.pay(MCH_ID, "hmac_1", &PayOptions::default()).unwrap();
    let body = endpoint.bodies(2).await.remove(1);
    assert_eq!(verified(&body).sign_type(), SignType::HmacSha256);
    assert!(!parse_xml(&body, Limits::MESSAGE).unwrap().contains("sign_type"));
    assert_eq!(finished(&gateway, "hmac_1").await.attempts.len(), 1);
}

#[tokio::test]
async fn notification_repeats_until_the_exact_success_answer() {
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
    gateway.pay(MCH_ID, ORDER_NO, &PayOptions::default()).unwrap();
    let notification = finished(&gateway, ORDER_NO).await;
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
async fn notification_is_exhausted_after_16_attempts() {
    let config = Config { time_scale: 1_000_000.0, ..config() };
    let gateway = gateway_with(config).await;
    let endpoint = Endpoint::start([(503, ""); 20]).await;
    gateway.create(order(endpoint.url())).await;
    let options = PayOptions { fresh_nonce: true, ..PayOptions::default() };
    gateway.pay(MCH_ID, ORDER_NO, &options).unwrap();
    let notification = finished(&gateway, ORDER_NO).await;
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
async fn first_repeat_comes_after_15_unscaled_seconds() {
    let config = Config { time_scale: 1.0, ..config() };
    let gateway = gateway_with(config).await;
    gateway.create(order(NO_ENDPOINT)).await;
    gateway.pay(MCH_ID, ORDER_NO, &PayOptions::default()).unwrap();
    let first = || gateway.notifications(MCH_ID, ORDER_NO).remove(0);
    until("the first repeat is scheduled", || first().next_at.is_some()).await;
    let notification = first();
    assert_eq!(notification.attempts[0].outcome, AttemptOutcome::Unreachable);
    assert_eq!(notification.attempts[0].status, None);
    let pause = notification.next_at.unwrap() - notification.attempts[0].at;
    assert!((15..20).contains(&pause.whole_seconds()), "{pause}");
    assert_eq!(notification.state, NotificationState::Pending);
}

#[tokio::test]
async fn attempt_times_out_if_the_endpoint_is_silent() {
    let config =
        Config { notify_timeout: Duration::from_millis(50), time_scale: 1_000_000.0, ..config() };
    let gateway = gateway_with(config).await;
    // Accepts connections and never answers.
    let silent = listener().await;
    let url = format!("http://{}/notify", silent.local_addr().unwrap());
    gateway.create(order(&url)).await;
    gateway.pay(MCH_ID, ORDER_NO, &PayOptions::default()).unwrap();
    let notification = finished(&gateway, ORDER_NO).await;
    assert_eq!(notification.state, NotificationState::Exhausted);
    let outcomes = notification.attempts.iter().map(|attempt| attempt.outcome);
    assert_eq!(outcomes.collect::<Vec<_>>(), [AttemptOutcome::Timeout; 16]);
}

#[tokio::test]
async fn notification_is_sent_as_often_as_the_option_says() {
    let gateway = gateway().await;
    let endpoint = Endpoint::start([]).await;
    for concurrently in [false, true] {
        let number = format!("concurrently_{concurrently}");
        gateway.create(with(order(endpoint.url()), &[("out_trade_no", &number)])).await;
        let options = PayOptions { notify: Some(3), concurrently, ..PayOptions::default() };
        gateway.pay(MCH_ID, &number, &options).unwrap();
        assert_eq!(finished(&gateway, &number).await.attempts.len(), 3, "all, although answered");
    }
    gateway.create(order(endpoint.url())).await;
    let never = PayOptions { notify: Some(0), ..PayOptions::default() };
    gateway.pay(MCH_ID, ORDER_NO, &never).unwrap();
    assert!(gateway.notifications(MCH_ID, ORDER_NO).is_empty());
    assert_eq!(gateway.query(ORDER_NO).await.get("trade_state"), Some("SUCCESS"));
    assert_eq!(endpoint.received().len(), 6);

    // Another notification about a paid order is about the existing payment.
    let again = PayOptions { notify_only: true, ..PayOptions::default() };
    let notified = gateway.pay(MCH_ID, ORDER_NO, &again).unwrap();
    let existing = gateway.order(MCH_ID, ORDER_NO).unwrap().transaction_id.unwrap();
    assert_eq!(notified.transaction_id.as_str(), existing);
    endpoint.bodies(7).await;
    assert_eq!(gateway.order(MCH_ID, ORDER_NO).unwrap().payments.len(), 1);
}

#[tokio::test]
async fn notification_delay_and_address_can_be_set() {
    let gateway = gateway().await;
    let endpoint = Endpoint::start([]).await;
    gateway.create(order(NO_ENDPOINT)).await;
    let options = json!({"delay_ms": 100, "notify_url": endpoint.url()});
    let (status, _) = gateway.control(&format!("/_sim/pay/{MCH_ID}/{ORDER_NO}"), options).await;
    assert_eq!(status, 200);
    // orderquery answers SUCCESS before the notification is sent.
    assert_eq!(gateway.query(ORDER_NO).await.get("trade_state"), Some("SUCCESS"));
    let notification = finished(&gateway, ORDER_NO).await;
    assert_eq!(notification.notify_url, endpoint.url());
    assert_eq!(notification.state, NotificationState::Delivered);
}

#[tokio::test]
async fn second_and_late_payments_are_notified() {
    let gateway = gateway().await;
    let endpoint = Endpoint::start([]).await;
    gateway.create(order(endpoint.url())).await;
    let path = format!("/_sim/pay/{MCH_ID}/{ORDER_NO}");
    let second = json!({"second_payment": true});
    assert_eq!(gateway.control(&path, second.clone()).await.0, 409, "not paid yet");
    let first = gateway.control(&path, json!({})).await.1;
    let (status, refused) = gateway.control(&path, json!({})).await;
    assert_eq!((status, &refused["error"]), (409, &json!("the order is paid")));
    let second = gateway.control(&path, second).await.1;
    assert_ne!(first["transaction_id"], second["transaction_id"]);
    let bodies = endpoint.bodies(2).await;
    let ids = bodies.iter().map(|body| verified(body).payment().unwrap().transaction_id);
    let ids: std::collections::BTreeSet<_> = ids.map(|id| id.to_string()).collect();
    assert_eq!(ids.len(), 2);
    assert_eq!(gateway.order(MCH_ID, ORDER_NO).unwrap().payments.len(), 2);

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
