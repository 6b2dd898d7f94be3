//! Starting and stopping when there is no broker, or one that does not play along.

use std::{sync::Arc, time::Duration};

use crate::support::{
    CONSUMER, LIMITS, SHORT, eventually, on_site,
    proxy::{Mode, Proxy},
    reaches,
    recorder::Recorder,
    to,
};
use broker::{
    ConnectionState, Consumer, Exchange, NotSentReason, Outcome, PublishError, Publisher, Queue,
    Replier, Setup,
};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

const NO_BROKER: Result<(), PublishError> = Err(PublishError::NotSent(NotSentReason::NoBroker));

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn starting_without_a_broker_works_once_there_is_one() {
    on_site(|site| async move {
        let proxy = Proxy::start(Mode::Refuse).await;
        let connection = site.start_connection(site.config_at(proxy.port), Setup::Declare);
        let publisher = Publisher::start(connection.clone(), LIMITS);
        let handler = Recorder::new(|_| Outcome::Done);
        let stop = CancellationToken::new();
        let consumer = Consumer::start(
            connection.clone(),
            publisher.clone(),
            Queue::Notifications,
            CONSUMER,
            Arc::clone(&handler),
            stop.clone(),
        );
        let replier = Replier::start(connection.clone());
        replier.send("nobody", None, "dropped".into());
        let started = Instant::now();
        assert_eq!(publisher.publish(to(Exchange::Notify, "payment"), SHORT).await, NO_BROKER);
        assert!(started.elapsed() < Duration::from_secs(1), "it was not made to wait");
        assert!(!connection.is_up());

        proxy.switch(Mode::Pass);
        reaches(&connection, ConnectionState::Up).await;
        publisher.publish(to(Exchange::Notify, "payment"), SHORT).await.unwrap();
        eventually("the consumer has started, too", || handler.count() == 1).await;
        stop.cancel();
        consumer.drained().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_without_a_broker_works() {
    on_site(|site| async move {
        let proxy = Proxy::start(Mode::Refuse).await;
        let connection = site.start_connection(site.config_at(proxy.port), Setup::Declare);
        let publisher = Publisher::start(connection.clone(), LIMITS);
        let (handler, stop) = (Recorder::new(|_| Outcome::Done), CancellationToken::new());
        let consumer = Consumer::start(
            connection.clone(),
            publisher.clone(),
            Queue::Orders,
            CONSUMER,
            handler,
            stop.clone(),
        );
        stop.cancel();
        timeout(SHORT, consumer.drained()).await.expect("the consumer ends");
        publisher.drain(SHORT).await;
        site.stop.cancel();
        timeout(SHORT, connection.closed()).await.expect("the connection ends");
        assert_eq!(publisher.publish(to(Exchange::Notify, "payment"), SHORT).await, NO_BROKER);
    })
    .await;
}

/// A broker that accepts connections and says nothing (stopped, or swapping) is given up after
/// the connection timeout, and its thread with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_broker_is_given_up_and_tried_again() {
    on_site(|site| async move {
        let proxy = Proxy::start(Mode::Stall).await;
        let threads_before = io_threads();
        let connection = site.start_connection(site.config_at(proxy.port), Setup::Declare);
        sleep(Duration::from_secs(7)).await; // at least two attempts of 2 s each
        eventually("no more than one attempt is under way", || io_threads() <= threads_before + 1)
            .await;
        assert!(!connection.is_up());
        proxy.switch(Mode::Pass);
        reaches(&connection, ConnectionState::Up).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_while_starting_it_starts_again() {
    on_site(|site| async move {
        let proxy = Proxy::start(Mode::Pass).await;
        let connection = site.start_connection(site.config_at(proxy.port), Setup::Declare);
        for delay_ms in [0, 3, 6, 10, 15, 20, 30, 50] {
            sleep(Duration::from_millis(delay_ms)).await;
            proxy.cut();
        }
        reaches(&connection, ConnectionState::Up).await;
        let publisher = Publisher::start(connection, LIMITS);
        publisher.publish(to(Exchange::Notify, "payment"), SHORT).await.unwrap();
    })
    .await;
}

/// The client library's threads in this process.
fn io_threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .filter(|name| name.starts_with("lapin-io-loop"))
        .count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_named_and_never_shown() {
    on_site(|site| async move {
        let url = crate::support::amqp_url();
        let (scheme, rest) = url.split_once("://").unwrap();
        let (user, host) = rest.split_once('@').unwrap();
        let user = user.split(':').next().unwrap();
        let mut config = site.config.clone();
        let url = format!("{scheme}://{user}:wrong@{host}");
        config.amqp_url = broker::AmqpUrl::parse(&url).unwrap();
        let problem = broker::delete_topology(&config).await.unwrap_err().to_string();
        assert!(problem.contains("ACCESS_REFUSED") && !problem.contains("wrong"), "{problem}");
    })
    .await;
}
