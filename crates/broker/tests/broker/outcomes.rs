//! What becomes of a delivery, outcome by outcome.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use crate::support::{CONSUMER, SHORT, eventually, on_site, recorder::Recorder, to};
use broker::{Delivery, Exchange, Outcome, Queue, topology};
use lapin::types::AMQPValue;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snoozed_delivery_comes_back_as_it_was() {
    on_site(|site| async move {
        let handler = Recorder::new({
            let rounds = AtomicUsize::new(0);
            move |_| match rounds.fetch_add(1, Ordering::SeqCst) {
                0 => Outcome::Snooze(Duration::from_millis(10)),
                _ => Outcome::Done,
            }
        });
        let stop = CancellationToken::new();
        let consumer = site.consume(Queue::Orders, CONSUMER, &handler, &stop).await;
        let mut message = to(Exchange::Commands, topology::ORDER_CLOSE);
        message.headers = vec![("traceparent".into(), "00-ab-cd-01".into())];
        message.correlation_id = Some("c".into());
        let started = Instant::now();
        site.publisher().await.publish(message, SHORT).await.unwrap();
        eventually("it comes back", || handler.count() == 2).await;
        assert!(started.elapsed() >= Duration::from_secs(5));
        stop.cancel();
        consumer.drained().await;

        let [first, mut second] = <[Delivery; 2]>::try_from(handler.seen()).unwrap();
        assert_eq!((second.routing_key.as_str(), second.attempt), ("order.close", 1));
        assert_eq!(second.header("traceparent"), Some("00-ab-cd-01"));
        second.headers = first.headers.clone(); // the broker has added to them
        assert_eq!(first, second);
        site.eyes().await.reaches_count(&site.name("orders.delay.5s"), 0).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retries_are_counted_and_end_parked() {
    on_site(|site| async move {
        let handler = Recorder::new(|_| Outcome::Retry { reason: "the gateway is down".into() });
        let stop = CancellationToken::new();
        let consumer = site.consume(Queue::Notifications, CONSUMER, &handler, &stop).await;
        let message = to(Exchange::Notify, topology::PAYMENT);
        let id = message.message_id.to_string();
        site.publisher().await.publish(message, SHORT).await.unwrap();

        let mut eyes = site.eyes().await;
        let parked = eyes.take(&site.name("notifications.parked")).await;
        stop.cancel();
        consumer.drained().await;
        let attempts: Vec<_> = handler.seen().iter().map(|delivery| delivery.attempt).collect();
        assert_eq!(attempts, [1, 2]);
        assert_eq!(parked.message_id(), id);
        assert_eq!(parked.routing_key, "payment");
        assert_eq!(parked.text_header("parked_reason"), "the gateway is down");
        assert_eq!(parked.header("attempt"), Some(&AMQPValue::LongLongInt(2)));
        assert!(parked.header("x-death").is_none());
        eyes.reaches_count(&site.name("notifications"), 0).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parked_delivery_says_why_and_when() {
    on_site(|site| async move {
        let reason = format!("not JSON\nat all {}", "é".repeat(400));
        let handler = Recorder::new(move |_| Outcome::Park { reason: reason.clone() });
        let stop = CancellationToken::new();
        let consumer = site.consume(Queue::Orders, CONSUMER, &handler, &stop).await;
        let mut message = to(Exchange::Commands, topology::ORDER_CREATE);
        message.body = "{".into();
        message.correlation_id = Some("c".into());
        site.publisher().await.publish(message, SHORT).await.unwrap();

        let mut eyes = site.eyes().await;
        let parked = eyes.take(&site.name("orders.parked")).await;
        stop.cancel();
        consumer.drained().await;
        let found = parked.text_header("parked_reason");
        assert!(found.starts_with("not JSON at all é") && found.len() <= 500, "{found}");
        let at = parked.text_header("parked_at");
        assert!(at.len() >= 20 && at.ends_with('Z') && at.contains('T'), "{at}");
        assert_eq!(parked.header("attempt"), Some(&AMQPValue::LongLongInt(1)));
        assert_eq!(
            (parked.routing_key.as_str(), parked.body.as_slice()),
            ("order.create", &b"{"[..])
        );
        assert_eq!(parked.properties.correlation_id().as_ref().unwrap().as_str(), "c");
        assert_eq!(*parked.properties.delivery_mode(), Some(2));
        eyes.reaches_count(&site.name("orders"), 0).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_is_never_delayed_or_parked() {
    on_site(|site| async move {
        let handler = Recorder::new(|_| Outcome::Park { reason: "no".into() });
        let stop = CancellationToken::new();
        let consumer = site.consume(Queue::Queries, CONSUMER, &handler, &stop).await;
        let question = to(Exchange::Commands, topology::ORDER_QUERY);
        site.publisher().await.publish(question, SHORT).await.unwrap();
        eventually("it is handled", || handler.count() == 1).await;
        stop.cancel();
        consumer.drained().await;
        let mut eyes = site.eyes().await;
        eyes.reaches_count(&site.name("queries"), 0).await;
        eyes.reaches_count(&site.name("unrouted"), 0).await;
    })
    .await;
}
