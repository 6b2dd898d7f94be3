//! Messages on connections that are lost.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use broker::{ConnectionState, Exchange, NotSentReason, Outcome, PublishError, Publisher};
use broker::{PublisherLimits, Queue, Setup, topology};
use futures_util::future::join_all;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::support::proxy::{Mode, Proxy};
use crate::support::recorder::Recorder;
use crate::support::{CONSUMER, LIMITS, RunningConsumer, SHORT, TestNamespace, consume_on};
use crate::support::{eventually, in_namespace, message_to, wait_for_state};

const NO_BROKER: Result<(), PublishError> = Err(PublishError::NotSent(NotSentReason::NoBroker));

/// Publishes until cancelled, records what was confirmed and returns the errors.
async fn publish_until(
    publisher: Publisher,
    name: usize,
    confirmed: Arc<Mutex<BTreeSet<String>>>,
    until: CancellationToken,
) -> HashSet<String> {
    let mut errors = HashSet::new();
    for number in 0.. {
        if until.is_cancelled() {
            break;
        }
        let mut message = message_to(Exchange::Notify, topology::PAYMENT);
        let body = format!("{name}-{number}");
        message.body = body.clone().into();
        match publisher.publish(message, SHORT).await {
            Ok(()) => {
                confirmed.lock().unwrap().insert(body);
            }
            Err(error) => {
                errors.insert(format!("{error:?}"));
                sleep(Duration::from_millis(5)).await;
            }
        }
    }
    errors
}

/// Cuts the publisher's and the consumer's connections again and again under load.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn confirmed_messages_survive_lost_connections() {
    in_namespace(|namespace| async move {
        let publish_proxy = Proxy::start(Mode::Pass).await;
        let consume_proxy = Proxy::start(Mode::Pass).await;
        let publish_connection =
            namespace.connection_as(namespace.config_at(publish_proxy.port), Setup::Declare).await;
        let consume_connection =
            namespace.connection_as(namespace.config_at(consume_proxy.port), Setup::Declare).await;
        let publisher = Publisher::start(publish_connection, LIMITS);
        let handler = Recorder::new(|_| Outcome::Done);
        let consumer = consume_on(
            consume_connection,
            publisher.clone(),
            Queue::Notifications,
            CONSUMER,
            &handler,
        );

        let confirmed = Arc::<Mutex<BTreeSet<_>>>::default();
        let until = CancellationToken::new();
        let publishing = (0..64).map(|name| {
            tokio::spawn(publish_until(
                publisher.clone(),
                name,
                Arc::clone(&confirmed),
                until.clone(),
            ))
        });
        let publishing: Vec<_> = publishing.collect();
        for round in 0..6 {
            let before = confirmed.lock().unwrap().len();
            eventually("messages are confirmed", || confirmed.lock().unwrap().len() > before + 200)
                .await;
            if round % 2 == 0 { publish_proxy.cut() } else { consume_proxy.cut() }
        }
        let before = confirmed.lock().unwrap().len();
        eventually("messages are confirmed", || confirmed.lock().unwrap().len() > before + 200)
            .await;
        until.cancel();
        let errors: HashSet<_> =
            join_all(publishing).await.into_iter().flat_map(|errors| errors.unwrap()).collect();
        let allowed = ["Unknown", "NotSent(NoBroker)"].map(str::to_owned);
        assert!(errors.iter().all(|error| allowed.contains(error)), "{errors:?}");

        let confirmed = confirmed.lock().unwrap().clone();
        eventually("every confirmed message is handled", || {
            confirmed.is_subset(&handler.distinct_bodies())
        })
        .await;
        end_after_sentinel(&namespace, &publisher, &handler, consumer).await;
        eventually("nothing is in flight", || publisher.in_flight() == 0).await;
    })
    .await;
}

/// On a connection that stalls and is then lost, a message is neither stored nor surely not sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn written_but_unconfirmed_message_is_unknown() {
    in_namespace(|namespace| async move {
        let proxy = Proxy::start(Mode::Pass).await;
        let connection =
            namespace.connection_as(namespace.config_at(proxy.port), Setup::Declare).await;
        let publisher = Publisher::start(connection.clone(), LIMITS);
        publisher.publish(message_to(Exchange::Notify, "payment"), SHORT).await.unwrap();

        proxy.switch(Mode::Stall);
        let late = publisher
            .publish(message_to(Exchange::Notify, "payment"), Duration::from_secs(1))
            .await;
        assert_eq!(late, Err(PublishError::Unknown), "its deadline passed");
        eventually("it stays in flight", || publisher.in_flight() == 1).await;
        let lost = tokio::spawn({
            let publisher = publisher.clone();
            async move { publisher.publish(message_to(Exchange::Notify, "payment"), SHORT).await }
        });
        eventually("both are in flight", || publisher.in_flight() == 2).await;
        let started = Instant::now();
        proxy.cut();
        assert_eq!(lost.await.unwrap(), Err(PublishError::Unknown), "its connection was lost");
        assert!(started.elapsed() < SHORT);
        wait_for_state(&connection, ConnectionState::Down).await;
        assert_eq!(
            publisher.publish(message_to(Exchange::Notify, "payment"), SHORT).await,
            NO_BROKER
        );

        proxy.switch(Mode::Pass);
        wait_for_state(&connection, ConnectionState::Up).await;
        publisher.publish(message_to(Exchange::Notify, "payment"), SHORT).await.unwrap();
        publisher.drain(SHORT).await;
        eventually("nothing is in flight", || publisher.in_flight() == 0).await;
    })
    .await;
}

/// Nor is a message sent whose deadline passes in the queue.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queued_message_of_lost_connection_is_not_sent() {
    in_namespace(|namespace| async move {
        let proxy = Proxy::start(Mode::Pass).await;
        let connection =
            namespace.connection_as(namespace.config_at(proxy.port), Setup::Declare).await;
        let limits = PublisherLimits { queued: 8, in_flight: 1 };
        let publisher = Publisher::start(connection.clone(), limits);
        publisher.publish(message_to(Exchange::Notify, "payment"), SHORT).await.unwrap();
        proxy.switch(Mode::Stall);
        let publish = |within| {
            let publisher = publisher.clone();
            tokio::spawn(async move {
                publisher.publish(message_to(Exchange::Notify, "payment"), within).await
            })
        };
        let first = publish(SHORT);
        eventually("the first is in flight", || publisher.in_flight() == 1).await;
        let late = publish(Duration::from_millis(100)).await.unwrap();
        assert_eq!(late, Err(PublishError::NotSent(NotSentReason::TooLate)));
        let waiting = publish(SHORT);
        sleep(Duration::from_millis(100)).await;
        proxy.cut();
        assert_eq!(first.await.unwrap(), Err(PublishError::Unknown));
        assert_eq!(waiting.await.unwrap(), NO_BROKER);
        proxy.switch(Mode::Pass);
        wait_for_state(&connection, ConnectionState::Up).await;
        let mut raw = namespace.raw_client().await;
        let stored = raw.count(&namespace.name("notifications")).await.unwrap();
        assert!((1..=2).contains(&stored), "{stored}: the first, and possibly the one in flight");
    })
    .await;
}

/// The handler of a lost connection's deliveries still ends, and its acknowledgements do not affect
/// the new connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliveries_of_lost_connection_are_redelivered() {
    in_namespace(
        |namespace| async move { lose_connection_with_unacked_deliveries(&namespace).await },
    )
    .await;
}

async fn lose_connection_with_unacked_deliveries(namespace: &TestNamespace) {
    let proxy = Proxy::start(Mode::Pass).await;
    let connection = namespace.connection_as(namespace.config_at(proxy.port), Setup::Declare).await;
    let cut = Arc::new(Mutex::new(Some(proxy.clone())));
    let handler = Recorder::new(move |_| {
        if let Some(proxy) = cut.lock().unwrap().take() {
            proxy.cut();
        }
        Outcome::Done
    });
    let publisher = namespace.publisher().await;
    for number in 0..30 {
        let mut message = message_to(Exchange::Notify, topology::PAYMENT);
        message.body = number.to_string().into();
        publisher.publish(message, SHORT).await.unwrap();
    }
    let consumer =
        consume_on(connection, publisher.clone(), Queue::Notifications, CONSUMER, &handler);
    let redelivered = || handler.deliveries().iter().any(|delivery| delivery.redelivered);
    eventually("some are redelivered", redelivered).await;
    end_after_sentinel(namespace, &publisher, &handler, consumer).await;
    assert_eq!(handler.distinct_bodies().len(), 31);
}

/// When a last message is handled, all before it were delivered too: the consumer may be stopped and
/// must leave nothing in the queue.
async fn end_after_sentinel(
    namespace: &TestNamespace,
    publisher: &Publisher,
    handler: &Recorder,
    consumer: RunningConsumer,
) {
    let mut sentinel = message_to(Exchange::Notify, topology::PAYMENT);
    sentinel.body = "sentinel".into();
    publisher.publish(sentinel, SHORT).await.unwrap();
    eventually("the last one is handled", || handler.distinct_bodies().contains("sentinel")).await;
    consumer.stop().await;
    namespace.raw_client().await.wait_for_count(&namespace.name("notifications"), 0).await;
}
