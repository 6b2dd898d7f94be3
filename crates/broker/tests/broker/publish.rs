//! Publishing with confirms, and its limits.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use broker::topology;
use broker::{Exchange, NotSentReason, PublishError, Publisher, PublisherLimits, Target};
use futures_util::StreamExt;
use futures_util::future::join_all;
use lapin::options::BasicConsumeOptions;
use lapin::types::{AMQPValue, FieldTable};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::support::{DEADLINE, LIMITS, RawClient, SHORT, eventually, in_namespace, message_to};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn confirmed_message_is_stored_with_its_properties() {
    in_namespace(|namespace| async move {
        let publisher = namespace.publisher().await;
        let mut message = message_to(Exchange::Notify, topology::PAYMENT);
        message.headers = vec![("traceparent".into(), "00-ab-cd-01".into())];
        message.correlation_id = Some("mine".into());
        let id = message.message_id.to_string();
        publisher.publish(message, SHORT).await.unwrap();

        let stored =
            namespace.raw_client().await.next_message(&namespace.name("notifications")).await;
        assert_eq!(stored.routing_key, "payment");
        assert_eq!(stored.body, b"{}");
        assert_eq!(stored.text_header("traceparent"), "00-ab-cd-01");
        let properties = &stored.properties;
        assert_eq!(stored.message_id(), id);
        assert_eq!(*properties.delivery_mode(), Some(2));
        assert_eq!(properties.app_id().as_ref().unwrap().as_str(), "wxpay-orders");
        assert_eq!(properties.kind().as_ref().unwrap().as_str(), "payment");
        assert_eq!(properties.content_type().as_ref().unwrap().as_str(), "application/json");
        assert_eq!(properties.correlation_id().as_ref().unwrap().as_str(), "mine");
        assert!(properties.timestamp().unwrap() > 1_700_000_000);
        eventually("nothing is in flight", || publisher.in_flight() == 0).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn query_is_transient() {
    in_namespace(|namespace| async move {
        let publisher = namespace.publisher().await;
        publisher
            .publish(message_to(Exchange::Commands, topology::ORDER_QUERY), SHORT)
            .await
            .unwrap();
        let stored = namespace.raw_client().await.next_message(&namespace.name("queries")).await;
        assert_eq!(*stored.properties.delivery_mode(), Some(1));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unroutable_message_is_kept() {
    in_namespace(|namespace| async move {
        let publisher = namespace.publisher().await;
        publisher.publish(message_to(Exchange::Commands, "order.unknown"), SHORT).await.unwrap();
        let unrouted = namespace.raw_client().await.next_message(&namespace.name("unrouted")).await;
        assert_eq!(unrouted.routing_key, "order.unknown");
        assert_eq!(unrouted.exchange, namespace.name("commands"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_queue_refuses_the_message() {
    in_namespace(|namespace| async move {
        let publisher = namespace.publisher().await;
        let mut raw = namespace.raw_client().await;
        let queue = raw.bind_queue(&namespace, "#", &bounded_at(1)).await;
        publisher.publish(message_to(Exchange::Events, "one"), SHORT).await.unwrap();
        let second = publisher.publish(message_to(Exchange::Events, "two"), SHORT).await;
        assert_eq!(second, Err(PublishError::Refused));
        raw.wait_for_count(&queue, 1).await;
    })
    .await;
}

/// With concurrent publishes on one channel, the client library may report a refused message as
/// stored; the publisher's one task prevents that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_result_belongs_to_its_message_under_load() {
    const CALLERS: usize = 8;
    const EACH: usize = 500;
    in_namespace(|namespace| async move {
        let publisher = namespace.publisher().await;
        let raw = namespace.raw_client().await;
        let queue = raw.bind_queue(&namespace, "#", &bounded_at(2)).await;
        let stored = Arc::new(Mutex::new(Vec::new()));
        let consumer = drain_into(&raw, &queue, Arc::clone(&stored)).await;

        let callers = (0..CALLERS).map(|_| {
            let publisher = publisher.clone();
            tokio::spawn(async move {
                let one = || async {
                    let message = message_to(Exchange::Events, "load");
                    let id = message.message_id.to_string();
                    (id, publisher.publish(message, DEADLINE).await)
                };
                // Concurrent publishes from each caller, so that the broker's queue overflows.
                let mut answers = Vec::new();
                for _ in 0..EACH / 50 {
                    answers.extend(join_all((0..50).map(|_| one())).await);
                }
                answers
            })
        });
        let answers: Vec<_> =
            join_all(callers).await.into_iter().flat_map(|answers| answers.unwrap()).collect();

        assert_eq!(answers.len(), CALLERS * EACH);
        let confirmed: HashSet<_> =
            answers.iter().filter(|(_, answer)| answer.is_ok()).map(|(id, _)| id.clone()).collect();
        let refused = answers.iter().filter(|(_, answer)| *answer == Err(PublishError::Refused));
        assert_eq!(confirmed.len() + refused.count(), CALLERS * EACH);
        assert!(confirmed.len() < CALLERS * EACH, "nothing was refused, so nothing is proven");
        eventually("every confirmed message arrives", || {
            stored.lock().unwrap().len() >= confirmed.len()
        })
        .await;
        let stored: Vec<String> = stored.lock().unwrap().clone();
        assert_eq!(stored.len(), confirmed.len());
        let wrong =
            stored.into_iter().collect::<HashSet<_>>().symmetric_difference(&confirmed).count();
        assert_eq!(wrong, 0, "results that belong to another message");
        consumer.abort();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn message_beyond_the_queue_limit_is_refused() {
    in_namespace(|namespace| async move {
        let limits = PublisherLimits { queued: 4, in_flight: 1 };
        let publisher = Publisher::start(namespace.connection().await, limits);
        let many =
            (0..200).map(|_| publisher.publish(message_to(Exchange::Notify, "payment"), DEADLINE));
        let answers = join_all(many).await;
        let full = Err(PublishError::NotSent(NotSentReason::Full));
        assert!(answers.contains(&full) && answers.contains(&Ok(())), "{answers:?}");
        assert!(answers.iter().all(|answer| *answer == full || *answer == Ok(())));

        let stored = answers.iter().filter(|answer| answer.is_ok()).count();
        let stored = u32::try_from(stored).unwrap();
        namespace.raw_client().await.wait_for_count(&namespace.name("notifications"), stored).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_publish_still_sends_its_message() {
    in_namespace(|namespace| async move {
        let publisher = namespace.publisher().await;
        for _ in 0..100 {
            let call = publisher.publish(message_to(Exchange::Notify, "payment"), SHORT);
            let _ = tokio::time::timeout(Duration::ZERO, call).await;
        }
        publisher.publish(message_to(Exchange::Notify, "payment"), SHORT).await.unwrap();
        publisher.drain(SHORT).await;
        eventually("nothing is in flight", || publisher.in_flight() == 0).await;
        namespace.raw_client().await.wait_for_count(&namespace.name("notifications"), 101).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalid_message_never_reaches_the_channel() {
    in_namespace(|namespace| async move {
        let publisher = namespace.publisher().await;
        let mut long_key = message_to(Exchange::Events, &"k".repeat(256));
        long_key.kind = "k".into();
        let mut long_headers = message_to(Exchange::Events, "k");
        long_headers.headers = vec![("h".into(), "v".repeat(200_000))];
        let mut own_reply_to = message_to(Exchange::Events, "k");
        own_reply_to.to = Target::Reply { reply_to: namespace.name("orders") };
        for bad in [long_key, long_headers, own_reply_to] {
            let answer = publisher.publish(bad, SHORT).await;
            let invalid = matches!(answer, Err(PublishError::NotSent(NotSentReason::Invalid(_))));
            assert!(invalid, "{answer:?}");
        }
        publisher.publish(message_to(Exchange::Events, "k"), SHORT).await.unwrap();
    })
    .await;
}

/// The message in flight has an unknown result.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_exchange_is_declared_again() {
    in_namespace(|namespace| async move {
        let publisher = Publisher::start(namespace.connection().await, LIMITS);
        let raw = namespace.raw_client().await;
        let name = namespace.name("notify");
        raw.channel.exchange_delete(name.as_str().into(), Default::default()).await.unwrap();
        let lost = publisher.publish(message_to(Exchange::Notify, "payment"), SHORT).await;
        assert_eq!(lost, Err(PublishError::Unknown));
        let deadline = Instant::now() + DEADLINE;
        loop {
            assert!(Instant::now() < deadline, "the exchange was not declared again");
            match publisher.publish(message_to(Exchange::Notify, "payment"), SHORT).await {
                Ok(()) => break,
                Err(PublishError::Unknown) => {} // the broker closes the channel until then
                Err(other) => panic!("{other}"),
            }
        }
        // The exchange is there a moment before its binding. What is published meanwhile is kept by
        // its alternate exchange, and lost nowhere.
        let mut raw = namespace.raw_client().await;
        let mut confirmed = 1;
        loop {
            assert!(Instant::now() < deadline, "the binding was not declared again");
            let stored = raw.count(&namespace.name("notifications")).await.unwrap();
            let unrouted = raw.count(&namespace.name("unrouted")).await.unwrap();
            if stored > 0 && stored + unrouted == confirmed {
                break;
            }
            if stored + unrouted == confirmed {
                let published = publisher.publish(message_to(Exchange::Notify, "payment"), SHORT);
                published.await.unwrap();
                confirmed += 1;
            }
        }
    })
    .await;
}

fn bounded_at(length: i64) -> [(&'static str, AMQPValue); 2] {
    [
        ("x-max-length", AMQPValue::LongLongInt(length)),
        ("x-overflow", AMQPValue::LongString("reject-publish".into())),
    ]
}

/// Consumes one message after the other, slowly enough for the queue to overflow sometimes.
async fn drain_into(raw: &RawClient, queue: &str, ids: Arc<Mutex<Vec<String>>>) -> JoinHandle<()> {
    raw.channel.basic_qos(1, Default::default()).await.unwrap();
    let options = BasicConsumeOptions::default();
    let mut deliveries = raw
        .channel
        .basic_consume(queue.into(), "".into(), options, FieldTable::default())
        .await
        .unwrap();
    tokio::spawn(async move {
        while let Some(Ok(delivery)) = deliveries.next().await {
            let id = delivery.properties.message_id().as_ref().unwrap().to_string();
            ids.lock().unwrap().push(id);
            delivery.acker.ack(Default::default()).await.unwrap();
        }
    })
}
