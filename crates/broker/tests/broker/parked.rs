//! Parked and unrouted messages in a person's hands.

use crate::support::{Eyes, LIMITS, SHORT, Site, on_site, to};
use broker::{Exchange, ParkedBatch, ParkedQueue, Publisher, Setup, replay_unrouted, topology};
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable},
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn looking_changes_nothing() {
    on_site(|site| async move {
        site.connection().await;
        let mut eyes = site.eyes().await;
        let bodies: Vec<String> = (1..=40).map(|place| format!("body {place}")).collect();
        for body in &bodies {
            park(&eyes, &site, topology::ORDER_CREATE, body).await;
        }
        eyes.reaches_count(&site.name("orders.parked"), 40).await;
        let places = bodies.iter().enumerate();
        let expected: Vec<_> = places.map(|(place, it)| format!("{} {it}", place + 1)).collect();
        // More often than the delivery limit that some brokers have of themselves.
        for _ in 0..25 {
            let batch = take(&site, ParkedQueue::Orders).await;
            assert_eq!(seen(&batch), expected);
            assert_eq!(batch.remaining(), 0);
            batch.requeue().await;
        }
        // As when the process dies.
        drop(take(&site, ParkedQueue::Orders).await);
        eyes.reaches_count(&site.name("orders.parked"), 40).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_is_sent_again_as_a_first_attempt() {
    on_site(|site| async move {
        let mut eyes = three_parked(&site).await;
        let mut batch = take(&site, ParkedQueue::Orders).await;
        assert!(batch.replay(2).await.unwrap());
        assert!(!batch.replay(2).await.unwrap(), "it was dealt with");
        assert!(!batch.replay(0).await.unwrap());
        assert!(!batch.replay(9).await.unwrap());
        batch.requeue().await;

        let again = eyes.take(&site.name("orders")).await;
        assert_eq!(again.body, b"two");
        assert_eq!(again.routing_key, topology::ORDER_CREATE);
        assert_eq!(again.message_id(), "id of two");
        assert_eq!(again.header("attempt"), Some(&AMQPValue::LongLongInt(1)));
        assert_eq!(again.text_header("traceparent"), "00-ab-cd-01");
        assert!(again.header("parked_reason").is_none());
        assert!(again.header("parked_at").is_none());
        let batch = take(&site, ParkedQueue::Orders).await;
        assert_eq!(seen(&batch), ["1 one", "2 three"]);
        batch.requeue().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_is_thrown_away() {
    on_site(|site| async move {
        let mut eyes = three_parked(&site).await;
        let mut batch = take(&site, ParkedQueue::Orders).await;
        assert!(batch.discard(1).await.unwrap());
        assert!(!batch.discard(1).await.unwrap());
        batch.requeue().await;
        eyes.reaches_count(&site.name("orders.parked"), 2).await;
        assert_eq!(eyes.take(&site.name("orders.parked")).await.body, b"two");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nothing_takes_stays() {
    on_site(|site| async move {
        site.connection().await;
        let mut eyes = site.eyes().await;
        park(&eyes, &site, "wxpay.orders", "stray").await;
        eyes.reaches_count(&site.name("orders.parked"), 1).await;
        let mut batch = take(&site, ParkedQueue::Orders).await;
        assert!(!batch.messages().next().unwrap().is_replayable);
        assert!(!batch.replay(1).await.unwrap());
        batch.requeue().await;
        eyes.reaches_count(&site.name("orders.parked"), 1).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_unrouted_go_back_once_their_binding_does() {
    on_site(|site| async move {
        let declaring = site.connection().await;
        let mut eyes = site.eyes().await;
        unbind(&eyes, &site).await;
        let publisher = Publisher::start(declaring.clone(), LIMITS);
        for routing_key in [topology::PAYMENT, "nonsense", topology::PAYMENT] {
            let message = to(Exchange::Notify, routing_key);
            publisher.publish(message, SHORT).await.unwrap();
        }
        // No way around the permissions of the exchange `notify`.
        let message = to(Exchange::Commands, topology::REFUND);
        publisher.publish(message, SHORT).await.unwrap();
        eyes.reaches_count(&site.name("unrouted"), 4).await;

        let checking = site.connection_as(site.config.clone(), Setup::Check).await;
        let sent = replay_unrouted(&checking).await.unwrap();
        assert_eq!(sent, 2, "each is tried once, although both came back");
        eyes.reaches_count(&site.name("unrouted"), 4).await;

        assert_eq!(replay_unrouted(&declaring).await.unwrap(), 2);
        eyes.reaches_count(&site.name("notifications"), 2).await;
        eyes.reaches_count(&site.name("unrouted"), 2).await;
        assert_eq!(replay_unrouted(&declaring).await.unwrap(), 0);
        let again = eyes.take(&site.name("notifications")).await;
        assert_eq!(again.exchange, site.name("notify"));
        assert_eq!(again.routing_key, topology::PAYMENT);
    })
    .await;
}

/// A message that comes out of a delay while its binding is missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delayed_message_is_unrouted_under_its_exchange() {
    on_site(|site| async move {
        let declaring = site.connection().await;
        let mut eyes = site.eyes().await;
        unbind(&eyes, &site).await;
        let fanout = site.name("notifications.delay.5s");
        publish(&eyes, &fanout, topology::PAYMENT, "delayed").await;
        eyes.reaches_count(&site.name("unrouted"), 1).await;
        assert_eq!(replay_unrouted(&declaring).await.unwrap(), 1);
        assert_eq!(eyes.take(&site.name("notifications")).await.body, b"delayed");
    })
    .await;
}

async fn unbind(eyes: &Eyes, site: &Site) {
    let (queue, exchange) = (site.name("notifications"), site.name("notify"));
    let unbound = eyes.channel.queue_unbind(
        queue.as_str().into(),
        exchange.as_str().into(),
        topology::PAYMENT.into(),
        FieldTable::default(),
    );
    unbound.await.unwrap();
}

async fn three_parked(site: &Site) -> Eyes {
    site.connection().await;
    let mut eyes = site.eyes().await;
    for body in ["one", "two", "three"] {
        park(&eyes, site, topology::ORDER_CREATE, body).await;
    }
    eyes.reaches_count(&site.name("orders.parked"), 3).await;
    eyes
}

async fn park(eyes: &Eyes, site: &Site, routing_key: &str, body: &str) {
    publish(eyes, &site.name("orders.parked"), routing_key, body).await;
}

async fn publish(eyes: &Eyes, exchange: &str, routing_key: &str, body: &str) {
    let mut headers = FieldTable::default();
    let now = OffsetDateTime::now_utc().format(&Rfc3339).unwrap();
    for (name, value) in [("parked_reason", "so".to_owned()), ("parked_at", now)] {
        headers.insert(name.into(), AMQPValue::LongString(value.into()));
    }
    let trace = AMQPValue::LongString("00-ab-cd-01".into());
    headers.insert("traceparent".into(), trace);
    headers.insert("attempt".into(), AMQPValue::LongLongInt(8));
    let properties = BasicProperties::default()
        .with_message_id(format!("id of {body}").into())
        .with_headers(headers);
    let published = eyes.channel.basic_publish(
        exchange.into(),
        routing_key.into(),
        Default::default(),
        body.as_bytes(),
        properties,
    );
    published.await.unwrap().await.unwrap();
}

async fn take(site: &Site, queue: ParkedQueue) -> ParkedBatch {
    ParkedBatch::take(&site.config, queue).await.unwrap()
}

fn seen(batch: &ParkedBatch) -> Vec<String> {
    let text = |body: &[u8]| String::from_utf8(body.to_vec()).unwrap();
    batch.messages().map(|it| format!("{} {}", it.position, text(&it.delivery.body))).collect()
}
