//! What the publisher promises, against a real broker.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::support::{LIMITS, PATIENCE, SHORT, on_site, to};
use broker::{Exchange, NotSentReason, PublishError, Publisher, PublisherLimits, topology};
use futures_util::{StreamExt, future::join_all};
use lapin::{
    options::BasicConsumeOptions,
    types::{AMQPValue, FieldTable},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_confirmed_message_is_stored_with_its_properties() {
    on_site(|site| async move {
        let publisher = site.publisher().await;
        let mut message = to(Exchange::Notify, topology::PAYMENT);
        message.headers = vec![("traceparent".into(), "00-ab-cd-01".into())];
        message.correlation_id = Some("mine".into());
        let id = message.message_id.to_string();
        publisher.publish(message, SHORT).await.unwrap();

        let stored = site.eyes().await.take(&site.name("notifications")).await;
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
        assert_eq!(publisher.in_flight(), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_is_transient() {
    on_site(|site| async move {
        let publisher = site.publisher().await;
        publisher.publish(to(Exchange::Commands, topology::ORDER_QUERY), SHORT).await.unwrap();
        let stored = site.eyes().await.take(&site.name("queries")).await;
        assert_eq!(*stored.properties.delivery_mode(), Some(1));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_is_bound_to_is_kept_aside() {
    on_site(|site| async move {
        let publisher = site.publisher().await;
        publisher.publish(to(Exchange::Commands, "order.unheard-of"), SHORT).await.unwrap();
        let stray = site.eyes().await.take(&site.name("unrouted")).await;
        assert_eq!(stray.routing_key, "order.unheard-of");
        assert_eq!(stray.exchange, site.name("commands"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_refuses() {
    on_site(|site| async move {
        let publisher = site.publisher().await;
        let mut eyes = site.eyes().await;
        let queue = eyes.listen(&site, "#", &bounded_at(1)).await;
        publisher.publish(to(Exchange::Events, "one"), SHORT).await.unwrap();
        let second = publisher.publish(to(Exchange::Events, "two"), SHORT).await;
        assert_eq!(second, Err(PublishError::Refused));
        eyes.reaches_count(&queue, 1).await;
    })
    .await;
}

/// The fault of the client library that this guards against (engineering, finding 1): with
/// concurrent publishes on one channel, a refused message may be reported as stored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_many_callers_every_answer_belongs_to_its_message() {
    const CALLERS: usize = 8;
    const EACH: usize = 500;
    on_site(|site| async move {
        let publisher = site.publisher().await;
        let eyes = site.eyes().await;
        let queue = eyes.listen(&site, "#", &bounded_at(2)).await;
        let stored = Arc::new(Mutex::new(Vec::new()));
        let consumer = drain_into(&eyes, &queue, Arc::clone(&stored)).await;

        let callers = (0..CALLERS).map(|_| {
            let publisher = publisher.clone();
            tokio::spawn(async move {
                let one = || async {
                    let message = to(Exchange::Events, "load");
                    let id = message.message_id.to_string();
                    (id, publisher.publish(message, PATIENCE).await)
                };
                // Some at once from each caller, so that the broker's queue overflows.
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
        assert!(confirmed.len() < CALLERS * EACH, "nothing was refused: this test proves nothing");
        crate::support::eventually("all that is confirmed arrives", || {
            stored.lock().unwrap().len() >= confirmed.len()
        })
        .await;
        let stored: Vec<String> = stored.lock().unwrap().clone();
        assert_eq!(stored.len(), confirmed.len());
        let wrong =
            stored.into_iter().collect::<HashSet<_>>().symmetric_difference(&confirmed).count();
        assert_eq!(wrong, 0, "answers that belong to another message");
        consumer.abort();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_may_wait_is_refused_at_once() {
    on_site(|site| async move {
        let limits = PublisherLimits { queued: 4, in_flight: 1 };
        let publisher = Publisher::start(site.connection().await, limits);
        let many = (0..200).map(|_| publisher.publish(to(Exchange::Notify, "payment"), PATIENCE));
        let answers = join_all(many).await;
        let full = Err(PublishError::NotSent(NotSentReason::Full));
        assert!(answers.contains(&full) && answers.contains(&Ok(())), "{answers:?}");
        assert!(answers.iter().all(|answer| *answer == full || *answer == Ok(())));

        let stored = answers.iter().filter(|answer| answer.is_ok()).count();
        let stored = u32::try_from(stored).unwrap();
        site.eyes().await.reaches_count(&site.name("notifications"), stored).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_call_still_publishes_and_disturbs_nobody() {
    on_site(|site| async move {
        let publisher = site.publisher().await;
        for _ in 0..100 {
            let call = publisher.publish(to(Exchange::Notify, "payment"), SHORT);
            let _ = tokio::time::timeout(Duration::ZERO, call).await;
        }
        publisher.publish(to(Exchange::Notify, "payment"), SHORT).await.unwrap();
        publisher.drain(SHORT).await;
        assert_eq!(publisher.in_flight(), 0);
        site.eyes().await.reaches_count(&site.name("notifications"), 101).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_broker_would_take_never_reaches_the_channel() {
    on_site(|site| async move {
        let publisher = site.publisher().await;
        let mut long_key = to(Exchange::Events, &"k".repeat(256));
        long_key.kind = "k".into();
        let mut long_headers = to(Exchange::Events, "k");
        long_headers.headers = vec![("h".into(), "v".repeat(200_000))];
        let mut to_ourselves = to(Exchange::Events, "k");
        to_ourselves.to = broker::Target::Reply { reply_to: site.name("orders") };
        for bad in [long_key, long_headers, to_ourselves] {
            let answer = publisher.publish(bad, SHORT).await;
            let invalid = matches!(answer, Err(PublishError::NotSent(NotSentReason::Invalid(_))));
            assert!(invalid, "{answer:?}");
        }
        publisher.publish(to(Exchange::Events, "k"), SHORT).await.unwrap();
    })
    .await;
}

/// An exchange that somebody has deleted costs the messages in flight their certainty, and comes
/// back by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_exchange_is_declared_again() {
    on_site(|site| async move {
        let publisher = Publisher::start(site.connection().await, LIMITS);
        let eyes = site.eyes().await;
        let name = site.name("notify");
        eyes.channel.exchange_delete(name.as_str().into(), Default::default()).await.unwrap();
        let lost = publisher.publish(to(Exchange::Notify, "payment"), SHORT).await;
        assert_eq!(lost, Err(PublishError::Unknown));
        loop {
            match publisher.publish(to(Exchange::Notify, "payment"), SHORT).await {
                Ok(()) => break,
                Err(PublishError::Unknown) => {} // the channel is closed again and again until then
                Err(other) => panic!("{other}"),
            }
        }
        site.eyes().await.take(&site.name("notifications")).await;
    })
    .await;
}

fn bounded_at(length: i64) -> [(&'static str, AMQPValue); 2] {
    [
        ("x-max-length", AMQPValue::LongLongInt(length)),
        ("x-overflow", AMQPValue::LongString("reject-publish".into())),
    ]
}

/// Takes one message after the other, slowly enough for the queue to be full now and then.
async fn drain_into(
    eyes: &crate::support::Eyes,
    queue: &str,
    ids: Arc<Mutex<Vec<String>>>,
) -> tokio::task::JoinHandle<()> {
    eyes.channel.basic_qos(1, Default::default()).await.unwrap();
    let options = BasicConsumeOptions::default();
    let mut deliveries = eyes
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
