//! Copies of deliveries, when the publisher is away.

use std::sync::Arc;

use crate::support::{
    CONSUMER, LIMITS, SHORT, eventually, on_site,
    proxy::{Mode, Proxy},
    reaches,
    recorder::Recorder,
    to,
};
use broker::{ConnectionState, Consumer, Exchange, Outcome, Publisher, Queue, Setup, topology};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Parking needs the publisher: while that is away the delivery is kept, and parked once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_waits_for_its_publisher() {
    on_site(|site| async move {
        let proxy = Proxy::start(Mode::Pass).await;
        let publish_connection =
            site.connection_as(site.config_at(proxy.port), Setup::Declare).await;
        let copies = Publisher::start(publish_connection.clone(), LIMITS);
        let (handler, stop) =
            (Recorder::new(|_| Outcome::Park { reason: "r".into() }), CancellationToken::new());
        let consumer = Consumer::start(
            site.connection().await,
            copies,
            Queue::Orders,
            CONSUMER,
            Arc::clone(&handler),
            stop.clone(),
        );
        proxy.switch(Mode::Refuse);
        proxy.cut();
        reaches(&publish_connection, ConnectionState::Down).await;
        let publisher = site.publisher().await;
        publisher.publish(to(Exchange::Commands, topology::ORDER_CREATE), SHORT).await.unwrap();
        eventually("it is handled", || handler.count() == 1).await;
        let mut eyes = site.eyes().await;
        assert_eq!(eyes.count(&site.name("orders.parked")).await, Some(0));

        proxy.switch(Mode::Pass);
        eyes.reaches_count(&site.name("orders.parked"), 1).await;
        stop.cancel();
        consumer.drained().await;
        eyes.reaches_count(&site.name("orders"), 0).await;
        assert_eq!(eyes.count(&site.name("orders.parked")).await, Some(1));
        assert_eq!(handler.count(), 1);
    })
    .await;
}

/// And if it does not come back before we are stopped, the delivery goes back to its queue.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_copy_the_original_goes_back() {
    on_site(|site| async move {
        let proxy = Proxy::start(Mode::Refuse).await;
        let nowhere = site.start_connection(site.config_at(proxy.port), Setup::Check);
        let (handler, stop) = (Recorder::new(|_| Outcome::Snooze(SHORT)), CancellationToken::new());
        let consumer = Consumer::start(
            site.connection().await,
            Publisher::start(nowhere, LIMITS),
            Queue::Orders,
            CONSUMER,
            Arc::clone(&handler),
            stop.clone(),
        );
        let publisher = site.publisher().await;
        publisher.publish(to(Exchange::Commands, topology::ORDER_CREATE), SHORT).await.unwrap();
        eventually("it is handled", || handler.count() == 1).await;
        stop.cancel();
        timeout(SHORT, consumer.drained()).await.expect("the consumer ends");
        site.eyes().await.reaches_count(&site.name("orders"), 1).await;
    })
    .await;
}

/// A confirm does not say that a message was stored: without a queue behind it, an exchange
/// confirms and forgets.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_delay_queue_a_copy_is_kept_aside() {
    on_site(|site| async move {
        let (handler, stop) = (Recorder::new(|_| Outcome::Snooze(SHORT)), CancellationToken::new());
        let consumer = site.consume(Queue::Orders, CONSUMER, &handler, &stop).await;
        let mut eyes = site.eyes().await;
        let delay = site.name("orders.delay.5s");
        eyes.channel.queue_delete(delay.as_str().into(), Default::default()).await.unwrap();
        let publisher = Publisher::start(
            site.connection_as(site.config.clone(), Setup::CheckPublishOnly).await,
            LIMITS,
        );
        publisher.publish(to(Exchange::Commands, topology::ORDER_CLOSE), SHORT).await.unwrap();
        let kept = eyes.take(&site.name("unrouted")).await;
        assert_eq!((kept.exchange, kept.routing_key.as_str()), (delay, "order.close"));
        stop.cancel();
        consumer.drained().await;
    })
    .await;
}
