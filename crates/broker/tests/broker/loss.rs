//! What becomes of messages when connections are lost.

use std::{
    collections::{BTreeSet, HashSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::support::{
    CONSUMER, LIMITS, SHORT, Site, eventually, on_site,
    proxy::{Mode, Proxy},
    reaches,
    recorder::Recorder,
    to,
};
use broker::{
    ConnectionState, Consumer, ConsumerHandle, Exchange, NotSentReason, Outcome, PublishError,
    Publisher, Queue, Setup, topology,
};
use futures_util::future::join_all;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

const NO_BROKER: Result<(), PublishError> = Err(PublishError::NotSent(NotSentReason::NoBroker));

/// Publishes until told to stop and remembers what was confirmed.
async fn publish_on(
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
        let mut message = to(Exchange::Notify, topology::PAYMENT);
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
async fn nothing_confirmed_is_lost_when_connections_break() {
    on_site(|site| async move {
        let (proxy_out, proxy_in) =
            (Proxy::start(Mode::Pass).await, Proxy::start(Mode::Pass).await);
        let publish_connection =
            site.connection_as(site.config_at(proxy_out.port), Setup::Declare).await;
        let link_in = site.connection_as(site.config_at(proxy_in.port), Setup::Declare).await;
        let publisher = Publisher::start(publish_connection.clone(), LIMITS);
        let (handler, stop) = (Recorder::new(|_| Outcome::Done), CancellationToken::new());
        let consumer = Consumer::start(
            link_in.clone(),
            publisher.clone(),
            Queue::Notifications,
            CONSUMER,
            Arc::clone(&handler),
            stop.clone(),
        );

        let (confirmed, until) = (Arc::<Mutex<BTreeSet<_>>>::default(), CancellationToken::new());
        let publishing = (0..64).map(|name| {
            tokio::spawn(publish_on(publisher.clone(), name, Arc::clone(&confirmed), until.clone()))
        });
        let publishing: Vec<_> = publishing.collect();
        for round in 0..6 {
            let before = confirmed.lock().unwrap().len();
            eventually("messages are confirmed", || confirmed.lock().unwrap().len() > before + 200)
                .await;
            if round % 2 == 0 { proxy_out.cut() } else { proxy_in.cut() }
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
        eventually("all that was confirmed is handled", || {
            confirmed.is_subset(&handler.distinct())
        })
        .await;
        end_after_sentinel(&site, &publisher, &handler, consumer, stop).await;
        assert_eq!(publisher.in_flight(), 0);
    })
    .await;
}

/// A connection on which nothing moves any more, and which then goes: nobody is told that a
/// message was stored, or that it was not sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_written_and_not_confirmed_is_unknown() {
    on_site(|site| async move {
        let proxy = Proxy::start(Mode::Pass).await;
        let connection = site.connection_as(site.config_at(proxy.port), Setup::Declare).await;
        let publisher = Publisher::start(connection.clone(), LIMITS);
        publisher.publish(to(Exchange::Notify, "payment"), SHORT).await.unwrap();

        proxy.switch(Mode::Stall);
        let impatient =
            publisher.publish(to(Exchange::Notify, "payment"), Duration::from_millis(200)).await;
        assert_eq!(impatient, Err(PublishError::Unknown), "its time was up");
        assert_eq!(publisher.in_flight(), 1);
        let patient = tokio::spawn({
            let publisher = publisher.clone();
            async move { publisher.publish(to(Exchange::Notify, "payment"), SHORT).await }
        });
        eventually("both are in flight", || publisher.in_flight() == 2).await;
        let started = Instant::now();
        proxy.cut();
        assert_eq!(patient.await.unwrap(), Err(PublishError::Unknown), "its connection was lost");
        assert!(started.elapsed() < SHORT);
        reaches(&connection, ConnectionState::Down).await;
        assert_eq!(publisher.publish(to(Exchange::Notify, "payment"), SHORT).await, NO_BROKER);

        proxy.switch(Mode::Pass);
        reaches(&connection, ConnectionState::Up).await;
        publisher.publish(to(Exchange::Notify, "payment"), SHORT).await.unwrap();
        publisher.drain(SHORT).await;
        assert_eq!(publisher.in_flight(), 0);
    })
    .await;
}

/// Those that waited for their turn when the connection went were never sent, and those whose
/// time ran out while they waited were not, either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_still_queued_is_known_not_to_be_sent() {
    on_site(|site| async move {
        let proxy = Proxy::start(Mode::Pass).await;
        let connection = site.connection_as(site.config_at(proxy.port), Setup::Declare).await;
        let limits = broker::PublisherLimits { queued: 8, in_flight: 1 };
        let publisher = Publisher::start(connection.clone(), limits);
        publisher.publish(to(Exchange::Notify, "payment"), SHORT).await.unwrap();
        proxy.switch(Mode::Stall);
        let publish = |within| {
            let publisher = publisher.clone();
            tokio::spawn(
                async move { publisher.publish(to(Exchange::Notify, "payment"), within).await },
            )
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
        reaches(&connection, ConnectionState::Up).await;
        let mut eyes = site.eyes().await;
        let stored = eyes.count(&site.name("notifications")).await.unwrap();
        assert!((1..=2).contains(&stored), "{stored}: the first, and perhaps the one in flight");
    })
    .await;
}

/// The handler of a lost connection's deliveries still ends, and its acknowledgements harm
/// nobody on the new connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliveries_of_a_lost_connection_come_again() {
    on_site(|site| async move { lose_connection_with_deliveries_in_hand(&site).await }).await;
}

async fn lose_connection_with_deliveries_in_hand(site: &Site) {
    let proxy = Proxy::start(Mode::Pass).await;
    let connection = site.connection_as(site.config_at(proxy.port), Setup::Declare).await;
    let cut = Arc::new(Mutex::new(Some(proxy.clone())));
    let handler = Recorder::new(move |_| {
        if let Some(proxy) = cut.lock().unwrap().take() {
            proxy.cut();
        }
        Outcome::Done
    });
    let publisher = site.publisher().await;
    for number in 0..30 {
        let mut message = to(Exchange::Notify, topology::PAYMENT);
        message.body = number.to_string().into();
        publisher.publish(message, SHORT).await.unwrap();
    }
    let stop = CancellationToken::new();
    let consumer = Consumer::start(
        connection,
        publisher.clone(),
        Queue::Notifications,
        CONSUMER,
        Arc::clone(&handler),
        stop.clone(),
    );
    let redelivered = || handler.seen().iter().any(|delivery| delivery.redelivered);
    eventually("some come again", redelivered).await;
    end_after_sentinel(site, &publisher, &handler, consumer, stop).await;
    assert_eq!(handler.distinct().len(), 31);
}

/// What has been in the queue before a last message is in somebody's hands when that one is: so
/// the consumer may be stopped, and must leave nothing behind.
async fn end_after_sentinel(
    site: &Site,
    publisher: &Publisher,
    handler: &Recorder,
    consumer: ConsumerHandle,
    stop: CancellationToken,
) {
    let mut sentinel = to(Exchange::Notify, topology::PAYMENT);
    sentinel.body = "sentinel".into();
    publisher.publish(sentinel, SHORT).await.unwrap();
    eventually("the last one is handled", || handler.distinct().contains("sentinel")).await;
    stop.cancel();
    consumer.drained().await;
    site.eyes().await.reaches_count(&site.name("notifications"), 0).await;
}
