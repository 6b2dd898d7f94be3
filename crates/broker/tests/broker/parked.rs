//! Reading, replaying and discarding parked and unrouted messages.

use broker::{Exchange, ParkedBatch, ParkedQueue, Publisher, Setup, replay_unrouted, topology};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::support::{LIMITS, RawClient, SHORT, TestNamespace, in_namespace, message_to};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_parked_messages_changes_nothing() {
    in_namespace(|namespace| async move {
        namespace.connection().await;
        let mut raw = namespace.raw_client().await;
        let bodies: Vec<String> = (1..=40).map(|number| format!("body {number}")).collect();
        for body in &bodies {
            park(&raw, &namespace, topology::ORDER_CREATE, body).await;
        }
        raw.wait_for_count(&namespace.name("orders.parked"), 40).await;
        let numbered = bodies.iter().enumerate();
        let expected: Vec<_> =
            numbered.map(|(index, body)| format!("{} {body}", index + 1)).collect();
        // More often than the default delivery limit of RabbitMQ 4.
        for _ in 0..25 {
            let batch = take(&namespace, ParkedQueue::Orders).await;
            assert_eq!(numbered_bodies(&batch), expected);
            assert_eq!(batch.remaining(), 0);
            batch.requeue().await;
        }
        // As when the process is killed.
        drop(take(&namespace, ParkedQueue::Orders).await);
        raw.wait_for_count(&namespace.name("orders.parked"), 40).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replayed_message_is_a_first_attempt() {
    in_namespace(|namespace| async move {
        let mut raw = three_parked(&namespace).await;
        let mut batch = take(&namespace, ParkedQueue::Orders).await;
        assert!(batch.replay(2).await.unwrap());
        assert!(!batch.replay(2).await.unwrap(), "it was replayed already");
        assert!(!batch.replay(0).await.unwrap());
        assert!(!batch.replay(9).await.unwrap());
        batch.requeue().await;

        let again = raw.next_message(&namespace.name("orders")).await;
        assert_eq!(again.body, b"two");
        assert_eq!(again.routing_key, topology::ORDER_CREATE);
        assert_eq!(again.message_id(), "id of two");
        assert_eq!(again.header("attempt"), Some(&AMQPValue::LongLongInt(1)));
        assert_eq!(again.text_header("traceparent"), "00-ab-cd-01");
        assert!(again.header("parked_reason").is_none());
        assert!(again.header("parked_at").is_none());
        let batch = take(&namespace, ParkedQueue::Orders).await;
        assert_eq!(numbered_bodies(&batch), ["1 one", "2 three"]);
        batch.requeue().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn discarded_message_is_removed() {
    in_namespace(|namespace| async move {
        let mut raw = three_parked(&namespace).await;
        let mut batch = take(&namespace, ParkedQueue::Orders).await;
        assert!(batch.discard(1).await.unwrap());
        assert!(!batch.discard(1).await.unwrap());
        batch.requeue().await;
        raw.wait_for_count(&namespace.name("orders.parked"), 2).await;
        assert_eq!(raw.next_message(&namespace.name("orders.parked")).await.body, b"two");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn message_without_a_binding_stays_parked() {
    in_namespace(|namespace| async move {
        namespace.connection().await;
        let mut raw = namespace.raw_client().await;
        park(&raw, &namespace, "wxpay.orders", "unroutable").await;
        raw.wait_for_count(&namespace.name("orders.parked"), 1).await;
        let mut batch = take(&namespace, ParkedQueue::Orders).await;
        assert!(!batch.messages().next().unwrap().is_replayable);
        assert!(!batch.replay(1).await.unwrap());
        batch.requeue().await;
        raw.wait_for_count(&namespace.name("orders.parked"), 1).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unrouted_messages_return_with_their_binding() {
    in_namespace(|namespace| async move {
        let declaring = namespace.connection().await;
        let mut raw = namespace.raw_client().await;
        unbind(&raw, &namespace).await;
        let publisher = Publisher::start(declaring.clone(), LIMITS);
        for routing_key in [topology::PAYMENT, "nonsense", topology::PAYMENT] {
            let message = message_to(Exchange::Notify, routing_key);
            publisher.publish(message, SHORT).await.unwrap();
        }
        // Must not reach the exchange `notify` this way.
        let message = message_to(Exchange::Commands, topology::REFUND);
        publisher.publish(message, SHORT).await.unwrap();
        raw.wait_for_count(&namespace.name("unrouted"), 4).await;

        let checking = namespace.connection_as(namespace.config.clone(), Setup::Check).await;
        let sent = replay_unrouted(&checking).await.unwrap();
        assert_eq!(sent, 2, "each is tried once, although both returned");
        raw.wait_for_count(&namespace.name("unrouted"), 4).await;

        assert_eq!(replay_unrouted(&declaring).await.unwrap(), 2);
        raw.wait_for_count(&namespace.name("notifications"), 2).await;
        raw.wait_for_count(&namespace.name("unrouted"), 2).await;
        assert_eq!(replay_unrouted(&declaring).await.unwrap(), 0);
        let again = raw.next_message(&namespace.name("notifications")).await;
        assert_eq!(again.exchange, namespace.name("notify"));
        assert_eq!(again.routing_key, topology::PAYMENT);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delayed_message_is_unrouted_under_its_exchange() {
    in_namespace(|namespace| async move {
        let declaring = namespace.connection().await;
        let mut raw = namespace.raw_client().await;
        unbind(&raw, &namespace).await;
        let fanout = namespace.name("notifications.delay.5s");
        publish(&raw, &fanout, topology::PAYMENT, "delayed").await;
        raw.wait_for_count(&namespace.name("unrouted"), 1).await;
        assert_eq!(replay_unrouted(&declaring).await.unwrap(), 1);
        assert_eq!(raw.next_message(&namespace.name("notifications")).await.body, b"delayed");
    })
    .await;
}

async fn unbind(raw: &RawClient, namespace: &TestNamespace) {
    let queue = namespace.name("notifications");
    let exchange = namespace.name("notify");
    let unbound = raw.channel.queue_unbind(
        queue.as_str().into(),
        exchange.as_str().into(),
        topology::PAYMENT.into(),
        FieldTable::default(),
    );
    unbound.await.unwrap();
}

async fn three_parked(namespace: &TestNamespace) -> RawClient {
    namespace.connection().await;
    let mut raw = namespace.raw_client().await;
    for body in ["one", "two", "three"] {
        park(&raw, namespace, topology::ORDER_CREATE, body).await;
    }
    raw.wait_for_count(&namespace.name("orders.parked"), 3).await;
    raw
}

async fn park(raw: &RawClient, namespace: &TestNamespace, routing_key: &str, body: &str) {
    publish(raw, &namespace.name("orders.parked"), routing_key, body).await;
}

async fn publish(raw: &RawClient, exchange: &str, routing_key: &str, body: &str) {
    let mut headers = FieldTable::default();
    let now = OffsetDateTime::now_utc().format(&Rfc3339).unwrap();
    for (name, value) in [("parked_reason", "reason".to_owned()), ("parked_at", now)] {
        headers.insert(name.into(), AMQPValue::LongString(value.into()));
    }
    let trace = AMQPValue::LongString("00-ab-cd-01".into());
    headers.insert("traceparent".into(), trace);
    headers.insert("attempt".into(), AMQPValue::LongLongInt(8));
    let properties = BasicProperties::default()
        .with_message_id(format!("id of {body}").into())
        .with_headers(headers);
    let published = raw.channel.basic_publish(
        exchange.into(),
        routing_key.into(),
        Default::default(),
        body.as_bytes(),
        properties,
    );
    published.await.unwrap().await.unwrap();
}

async fn take(namespace: &TestNamespace, queue: ParkedQueue) -> ParkedBatch {
    ParkedBatch::take(&namespace.config, queue).await.unwrap()
}

fn numbered_bodies(batch: &ParkedBatch) -> Vec<String> {
    let text = |body: &[u8]| String::from_utf8(body.to_vec()).unwrap();
    batch.messages().map(|it| format!("{} {}", it.position, text(&it.delivery.body))).collect()
}
