//! Starting and stopping without a broker, or with one that does not respond.

use std::time::Duration;

use broker::{ConnectionState, Exchange, NotSentReason, Outcome, PublishError, Publisher};
use broker::{Queue, Replier, Setup};
use tokio::time::{Instant, sleep, timeout};

use crate::support::proxy::{Mode, Proxy};
use crate::support::recorder::Recorder;
use crate::support::{CONSUMER, LIMITS, SHORT, consume_on, eventually, in_namespace};
use crate::support::{message_to, wait_for_state};

const NO_BROKER: Result<(), PublishError> = Err(PublishError::NotSent(NotSentReason::NoBroker));

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn start_without_a_broker_connects_later() {
    in_namespace(|namespace| async move {
        let proxy = Proxy::start(Mode::Refuse).await;
        let connection =
            namespace.start_connection(namespace.config_at(proxy.port), Setup::Declare);
        let publisher = Publisher::start(connection.clone(), LIMITS);
        let handler = Recorder::new(|_| Outcome::Done);
        let consumer = consume_on(
            connection.clone(),
            publisher.clone(),
            Queue::Notifications,
            CONSUMER,
            &handler,
        );
        let replier = Replier::start(connection.clone());
        replier.send("missing", None, "dropped".into());
        let started = Instant::now();
        assert_eq!(
            publisher.publish(message_to(Exchange::Notify, "payment"), SHORT).await,
            NO_BROKER
        );
        assert!(started.elapsed() < SHORT, "it was refused without waiting");
        assert!(!connection.is_up());

        proxy.switch(Mode::Pass);
        wait_for_state(&connection, ConnectionState::Up).await;
        publisher.publish(message_to(Exchange::Notify, "payment"), SHORT).await.unwrap();
        eventually("the consumer has started too", || handler.count() == 1).await;
        consumer.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stop_without_a_broker_ends() {
    in_namespace(|namespace| async move {
        let proxy = Proxy::start(Mode::Refuse).await;
        let connection =
            namespace.start_connection(namespace.config_at(proxy.port), Setup::Declare);
        let publisher = Publisher::start(connection.clone(), LIMITS);
        let handler = Recorder::new(|_| Outcome::Done);
        let consumer =
            consume_on(connection.clone(), publisher.clone(), Queue::Orders, CONSUMER, &handler);
        timeout(SHORT, consumer.stop()).await.expect("the consumer ends");
        publisher.drain(SHORT).await;
        namespace.stop.cancel();
        timeout(SHORT, connection.closed()).await.expect("the connection ends");
        assert_eq!(
            publisher.publish(message_to(Exchange::Notify, "payment"), SHORT).await,
            NO_BROKER
        );
    })
    .await;
}

/// A broker that accepts connections and stays silent (stopped, or swapping) is given up after the
/// connection timeout, and the library's thread ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_broker_is_given_up_and_tried_again() {
    in_namespace(|namespace| async move {
        let proxy = Proxy::start(Mode::Stall).await;
        let threads_before = io_threads();
        let connection =
            namespace.start_connection(namespace.config_at(proxy.port), Setup::Declare);
        sleep(Duration::from_secs(7)).await; // at least two attempts of 2 s each
        eventually("at most one attempt is running", || io_threads() <= threads_before + 1).await;
        assert!(!connection.is_up());
        proxy.switch(Mode::Pass);
        wait_for_state(&connection, ConnectionState::Up).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connection_cut_while_starting_starts_again() {
    in_namespace(|namespace| async move {
        let proxy = Proxy::start(Mode::Pass).await;
        let connection =
            namespace.start_connection(namespace.config_at(proxy.port), Setup::Declare);
        for delay_ms in [0, 3, 6, 10, 15, 20, 30, 50] {
            sleep(Duration::from_millis(delay_ms)).await;
            proxy.cut();
        }
        wait_for_state(&connection, ConnectionState::Up).await;
        let publisher = Publisher::start(connection, LIMITS);
        publisher.publish(message_to(Exchange::Notify, "payment"), SHORT).await.unwrap();
    })
    .await;
}

/// Threads of the client library in this process.
fn io_threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .filter(|name| name.starts_with("lapin-io-loop"))
        .count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_password_is_reported_and_never_shown() {
    in_namespace(|namespace| async move {
        let url = crate::support::amqp_url();
        let (scheme, rest) = url.split_once("://").unwrap();
        let (user, host) = rest.split_once('@').unwrap();
        let user = user.split(':').next().unwrap();
        let mut config = namespace.config.clone();
        let url = format!("{scheme}://{user}:wrong@{host}");
        config.amqp_url = broker::AmqpUrl::parse(&url).unwrap();
        let problem = broker::delete_topology(&config).await.unwrap_err().to_string();
        assert!(problem.contains("ACCESS_REFUSED") && !problem.contains("wrong"), "{problem}");
    })
    .await;
}
