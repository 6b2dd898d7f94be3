//! Copies of deliveries while their publisher is down.

use std::time::Duration;

use broker::{ConnectionState, Exchange, Outcome, Publisher, Queue, Setup, topology};
use tokio::time::timeout;

use crate::support::proxy::{Mode, Proxy};
use crate::support::recorder::Recorder;
use crate::support::{CONSUMER, LIMITS, SHORT, consume_on, eventually, in_namespace};
use crate::support::{message_to, wait_for_state};

/// Parking needs the publisher: until it reconnects the delivery stays unacknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copy_waits_for_its_publisher() {
    in_namespace(|namespace| async move {
        let proxy = Proxy::start(Mode::Pass).await;
        let publish_connection =
            namespace.connection_as(namespace.config_at(proxy.port), Setup::Declare).await;
        let copy_publisher = Publisher::start(publish_connection.clone(), LIMITS);
        let handler = Recorder::new(|_| Outcome::Park { reason: "r".into() });
        let consumer = consume_on(
            namespace.connection().await,
            copy_publisher,
            Queue::Orders,
            CONSUMER,
            &handler,
        );
        proxy.switch(Mode::Refuse);
        proxy.cut();
        wait_for_state(&publish_connection, ConnectionState::Down).await;
        let publisher = namespace.publisher().await;
        publisher
            .publish(message_to(Exchange::Commands, topology::ORDER_CREATE), SHORT)
            .await
            .unwrap();
        eventually("it is handled", || handler.count() == 1).await;
        let mut raw = namespace.raw_client().await;
        assert_eq!(raw.count(&namespace.name("orders.parked")).await, Some(0));

        proxy.switch(Mode::Pass);
        raw.wait_for_count(&namespace.name("orders.parked"), 1).await;
        consumer.stop().await;
        raw.wait_for_count(&namespace.name("orders"), 0).await;
        assert_eq!(raw.count(&namespace.name("orders.parked")).await, Some(1));
        assert_eq!(handler.count(), 1);
    })
    .await;
}

/// If the publisher does not reconnect before the stop, the delivery goes back to its queue.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn original_is_requeued_without_a_copy() {
    in_namespace(|namespace| async move {
        let proxy = Proxy::start(Mode::Refuse).await;
        let unreachable = namespace.start_connection(namespace.config_at(proxy.port), Setup::Check);
        let handler = Recorder::new(|_| Outcome::Snooze(Duration::from_secs(5)));
        let consumer = consume_on(
            namespace.connection().await,
            Publisher::start(unreachable, LIMITS),
            Queue::Orders,
            CONSUMER,
            &handler,
        );
        let publisher = namespace.publisher().await;
        publisher
            .publish(message_to(Exchange::Commands, topology::ORDER_CREATE), SHORT)
            .await
            .unwrap();
        eventually("it is handled", || handler.count() == 1).await;
        timeout(SHORT, consumer.stop()).await.expect("the consumer ends");
        namespace.raw_client().await.wait_for_count(&namespace.name("orders"), 1).await;
    })
    .await;
}

/// Without a queue behind it, an exchange confirms and drops a message; the alternate exchange keeps
/// it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copy_without_its_delay_queue_becomes_unrouted() {
    in_namespace(|namespace| async move {
        let handler = Recorder::new(|_| Outcome::Snooze(Duration::from_secs(5)));
        let consumer = namespace.consume(Queue::Orders, CONSUMER, &handler).await;
        let mut raw = namespace.raw_client().await;
        let delay = namespace.name("orders.delay.5s");
        raw.channel.queue_delete(delay.as_str().into(), Default::default()).await.unwrap();
        let publisher = Publisher::start(
            namespace.connection_as(namespace.config.clone(), Setup::CheckPublishOnly).await,
            LIMITS,
        );
        publisher
            .publish(message_to(Exchange::Commands, topology::ORDER_CLOSE), SHORT)
            .await
            .unwrap();
        let unrouted = raw.next_message(&namespace.name("unrouted")).await;
        assert_eq!(unrouted.exchange, delay);
        assert_eq!(unrouted.routing_key, "order.close");
        consumer.stop().await;
    })
    .await;
}
