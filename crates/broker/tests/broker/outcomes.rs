//! What happens to a delivery, outcome by outcome.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use broker::{Delivery, Exchange, Outcome, Queue, topology};
use lapin::types::AMQPValue;
use tokio::time::Instant;

use crate::support::recorder::Recorder;
use crate::support::{CONSUMER, SHORT, eventually, in_namespace, message_to};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snoozed_delivery_comes_back_unchanged() {
    in_namespace(|namespace| async move {
        let handler = Recorder::new({
            let calls = AtomicUsize::new(0);
            move |_| match calls.fetch_add(1, Ordering::SeqCst) {
                0 => Outcome::Snooze(Duration::from_millis(10)),
                _ => Outcome::Done,
            }
        });
        let consumer = namespace.consume(Queue::Orders, CONSUMER, &handler).await;
        let mut message = message_to(Exchange::Commands, topology::ORDER_CLOSE);
        message.headers = vec![("traceparent".into(), "00-ab-cd-01".into())];
        message.correlation_id = Some("c".into());
        let started = Instant::now();
        namespace.publisher().await.publish(message, SHORT).await.unwrap();
        eventually("it comes back", || handler.count() == 2).await;
        assert!(started.elapsed() >= Duration::from_secs(5));
        consumer.stop().await;

        let [first, mut second] = <[Delivery; 2]>::try_from(handler.deliveries()).unwrap();
        assert_eq!(second.routing_key, "order.close");
        assert_eq!(second.attempt, 1);
        assert_eq!(second.header("traceparent"), Some("00-ab-cd-01"));
        second.headers = first.headers.clone(); // the broker has added to them
        assert_eq!(first, second);
        namespace.raw_client().await.wait_for_count(&namespace.name("orders.delay.5s"), 0).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retries_are_counted_and_end_parked() {
    in_namespace(|namespace| async move {
        let handler = Recorder::new(|_| Outcome::Retry { reason: "the gateway is down".into() });
        let consumer = namespace.consume(Queue::Notifications, CONSUMER, &handler).await;
        let message = message_to(Exchange::Notify, topology::PAYMENT);
        let id = message.message_id.to_string();
        namespace.publisher().await.publish(message, SHORT).await.unwrap();

        let mut raw = namespace.raw_client().await;
        let parked = raw.next_message(&namespace.name("notifications.parked")).await;
        consumer.stop().await;
        let attempts: Vec<_> =
            handler.deliveries().iter().map(|delivery| delivery.attempt).collect();
        assert_eq!(attempts, [1, 2]);
        assert_eq!(parked.message_id(), id);
        assert_eq!(parked.routing_key, "payment");
        assert_eq!(parked.text_header("parked_reason"), "the gateway is down");
        assert_eq!(parked.header("attempt"), Some(&AMQPValue::LongLongInt(2)));
        assert!(parked.header("x-death").is_none());
        raw.wait_for_count(&namespace.name("notifications"), 0).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parked_delivery_names_reason_and_time() {
    in_namespace(|namespace| async move {
        let reason = format!("not JSON\nat all {}", "é".repeat(400));
        let handler = Recorder::new(move |_| Outcome::Park { reason: reason.clone() });
        let consumer = namespace.consume(Queue::Orders, CONSUMER, &handler).await;
        let mut message = message_to(Exchange::Commands, topology::ORDER_CREATE);
        message.body = "{".into();
        message.correlation_id = Some("c".into());
        namespace.publisher().await.publish(message, SHORT).await.unwrap();

        let mut raw = namespace.raw_client().await;
        let parked = raw.next_message(&namespace.name("orders.parked")).await;
        consumer.stop().await;
        let found = parked.text_header("parked_reason");
        assert!(found.starts_with("not JSON at all é") && found.len() <= 500, "{found}");
        let at = parked.text_header("parked_at");
        assert!(at.len() >= 20 && at.ends_with('Z') && at.contains('T'), "{at}");
        assert_eq!(parked.header("attempt"), Some(&AMQPValue::LongLongInt(1)));
        assert_eq!(parked.routing_key, "order.create");
        assert_eq!(parked.body, b"{");
        assert_eq!(parked.properties.correlation_id().as_ref().unwrap().as_str(), "c");
        assert_eq!(*parked.properties.delivery_mode(), Some(2));
        raw.wait_for_count(&namespace.name("orders"), 0).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn query_is_never_delayed_or_parked() {
    in_namespace(|namespace| async move {
        let handler = Recorder::new(|_| Outcome::Park { reason: "no".into() });
        let consumer = namespace.consume(Queue::Queries, CONSUMER, &handler).await;
        let query = message_to(Exchange::Commands, topology::ORDER_QUERY);
        namespace.publisher().await.publish(query, SHORT).await.unwrap();
        eventually("it is handled", || handler.count() == 1).await;
        consumer.stop().await;
        let mut raw = namespace.raw_client().await;
        raw.wait_for_count(&namespace.name("queries"), 0).await;
        raw.wait_for_count(&namespace.name("unrouted"), 0).await;
    })
    .await;
}
