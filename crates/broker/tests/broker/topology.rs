//! Declaring, checking, measuring, comparing and deleting the topology.

use std::time::Duration;

use broker::{ConnectionState, DriftKind, Exchange, Publisher, Queue, Setup, TopologyDrift};
use broker::{exchange_name, queue_depths, queue_name, topology};
use lapin::ExchangeKind;
use lapin::options::{BasicRejectOptions, ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use tokio::time::timeout;

use crate::support::{LIMITS, SHORT, TestNamespace, in_namespace, message_to, wait_for_state};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topology_can_be_declared_twice_and_checked() {
    in_namespace(|namespace| async move {
        for setup in [Setup::Declare, Setup::Declare, Setup::Check, Setup::CheckPublishOnly] {
            namespace.connection_as(namespace.config.clone(), setup).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_queue_exists_under_the_namespace() {
    in_namespace(|namespace| async move {
        let connection = namespace.connection().await;
        let publisher = Publisher::start(connection.clone(), LIMITS);
        publisher.publish(message_to(Exchange::Notify, topology::REFUND), SHORT).await.unwrap();
        namespace.raw_client().await.wait_for_count(&namespace.name("notifications"), 1).await;
        let depths = queue_depths(&connection).await.unwrap();
        let mut names: Vec<_> = depths.iter().map(|it| it.queue.as_str()).collect();
        names.sort_unstable();
        let mut expected: Vec<String> = [
            "orders",
            "notifications",
            "queries",
            "orders.parked",
            "notifications.parked",
            "unrouted",
        ]
        .map(|name| namespace.name(name))
        .into();
        for queue in ["orders", "notifications"] {
            for step in ["5s", "30s", "2m", "10m"] {
                expected.push(namespace.name(&format!("{queue}.delay.{step}")));
            }
        }
        expected.sort_unstable();
        assert_eq!(names, expected);
        let full: Vec<_> = depths.iter().filter(|it| it.messages > 0).collect();
        assert_eq!(full.len(), 1);
        assert_eq!(full[0].queue, queue_name(&namespace.config.namespace, Queue::Notifications));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_waits_until_the_topology_is_declared() {
    in_namespace(|namespace| async move {
        let checking = namespace.start_connection(namespace.config.clone(), Setup::Check);
        let mut states = checking.state();
        let up = states.wait_for(|state| *state == ConnectionState::Up);
        assert!(timeout(Duration::from_secs(2), up).await.is_err(), "there is nothing yet");
        namespace.connection().await;
        wait_for_state(&checking, ConnectionState::Up).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publish_only_check_needs_two_exchanges() {
    in_namespace(|namespace| async move {
        let raw = namespace.raw_client().await;
        for exchange in [Exchange::Commands, Exchange::Notify] {
            let name = exchange_name(&namespace.config.namespace, exchange);
            let kind = ExchangeKind::Direct;
            let declare = raw.channel.exchange_declare(
                name.as_str().into(),
                kind,
                Default::default(),
                FieldTable::default(),
            );
            declare.await.unwrap();
        }
        namespace.connection_as(namespace.config.clone(), Setup::CheckPublishOnly).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn differing_topology_keeps_the_connection_down() {
    in_namespace(|namespace| async move {
        let raw = namespace.raw_client().await;
        let name = namespace.name("orders");
        let options = QueueDeclareOptions { durable: true, ..Default::default() };
        let declare =
            raw.channel.queue_declare(name.as_str().into(), options, FieldTable::default());
        declare.await.unwrap();
        let connection = namespace.start_connection(namespace.config.clone(), Setup::Declare);
        let mut states = connection.state();
        let up = states.wait_for(|state| *state == ConnectionState::Up);
        assert!(timeout(Duration::from_secs(2), up).await.is_err());
        raw.channel.queue_delete(name.as_str().into(), Default::default()).await.unwrap();
        wait_for_state(&connection, ConnectionState::Up).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delete_removes_every_queue() {
    in_namespace(|namespace| async move {
        let connection = namespace.connection().await;
        broker::delete_topology(&namespace.config).await.unwrap();
        let problem = queue_depths(&connection).await.unwrap_err();
        assert!(problem.is_not_found(), "{problem}");
        let text = problem.to_string();
        assert!(text.contains(&namespace.name("unrouted")), "{text}");
    })
    .await;
}

/// A message during which the worker dies again and again is parked under its own routing key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broker_parks_message_beyond_the_delivery_limit() {
    in_namespace(|namespace| async move {
        let publisher = namespace.publisher().await;
        let message = message_to(Exchange::Notify, topology::PAYMENT);
        publisher.publish(message, SHORT).await.unwrap();
        let mut raw = namespace.raw_client().await;
        let work = namespace.name("notifications");
        let parked = namespace.name("notifications.parked");
        let mut deliveries = 0;
        while raw.count(&parked).await != Some(1) {
            let got = raw.channel.basic_get(work.as_str().into(), Default::default()).await;
            if let Some(got) = got.unwrap() {
                deliveries += 1;
                assert!(deliveries <= 21, "there is no delivery limit");
                let requeue = BasicRejectOptions { requeue: true };
                got.delivery.acker.reject(requeue).await.unwrap();
            }
        }
        let parked = raw.next_message(&parked).await;
        assert_eq!(parked.routing_key, "payment");
        let Some(AMQPValue::FieldArray(deaths)) = parked.header("x-death") else { panic!() };
        let AMQPValue::FieldTable(death) = &deaths.as_slice()[0] else { panic!() };
        let reason = death.inner().get("reason");
        assert_eq!(reason, Some(&AMQPValue::LongString("delivery_limit".into())));
        assert_eq!(deliveries, 21);
    })
    .await;
}

#[derive(Debug, Default, PartialEq)]
struct Drifts {
    missing: Vec<String>,
    /// The part and the attribute.
    differing: Vec<(String, String)>,
}

async fn survey(namespace: &TestNamespace) -> Drifts {
    let survey = broker::survey(&namespace.config).await.unwrap();
    assert_eq!(survey.parts, 28, "{survey:?}");
    assert_eq!(survey.uncompared, 0, "{survey:?}");
    let mut drifts = Drifts::default();
    for TopologyDrift { part, kind } in survey.drifts {
        match kind {
            DriftKind::Missing => drifts.missing.push(part),
            DriftKind::Differs(what) => drifts.differing.push((part, what)),
        }
    }
    drifts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn survey_names_missing_parts_and_creates_nothing() {
    in_namespace(|namespace| async move {
        for _ in 0..2 {
            assert_eq!(survey(&namespace).await.missing.len(), 28, "the survey created something");
        }
        namespace.connection().await;
        assert_eq!(survey(&namespace).await, Drifts::default());
        let raw = namespace.raw_client().await;
        let queue = namespace.name("orders.delay.2m");
        let exchange = namespace.name("events");
        raw.channel.queue_delete(queue.as_str().into(), Default::default()).await.unwrap();
        raw.channel.exchange_delete(exchange.as_str().into(), Default::default()).await.unwrap();
        let missing = vec![format!("exchange {exchange}"), format!("queue {queue}")];
        for _ in 0..2 {
            let drifts = survey(&namespace).await;
            assert_eq!(drifts, Drifts { missing: missing.clone(), differing: Vec::new() });
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn survey_names_differing_parts() {
    in_namespace(|namespace| async move {
        namespace.connection().await;
        let raw = namespace.raw_client().await;
        let declare_exchange = async |name: &str, kind, table: FieldTable| {
            let name = namespace.name(name);
            raw.channel.exchange_delete(name.as_str().into(), Default::default()).await.unwrap();
            let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
            let declare = raw.channel.exchange_declare(name.into(), kind, options, table);
            declare.await.unwrap();
        };
        let table = |name: &str, value| {
            let mut table = FieldTable::default();
            table.insert(name.into(), value);
            table
        };
        let elsewhere = AMQPValue::LongString("elsewhere".into());
        let kind = ExchangeKind::Direct;
        declare_exchange("commands", kind.clone(), FieldTable::default()).await;
        declare_exchange("notify", kind.clone(), table("alternate-exchange", elsewhere)).await;
        declare_exchange("events", kind, FieldTable::default()).await;
        let name = namespace.name("queries");
        raw.channel.queue_delete(name.as_str().into(), Default::default()).await.unwrap();
        let options = QueueDeclareOptions { durable: true, ..Default::default() };
        let ttl = table("x-message-ttl", AMQPValue::LongLongInt(1));
        raw.channel.queue_declare(name.as_str().into(), options, ttl).await.unwrap();
        let drifts = survey(&namespace).await;
        assert_eq!(drifts.missing, [""; 0]);
        let named = |kind: &str, name: &str, what: &str| {
            (format!("{kind} {}", namespace.name(name)), what.to_owned())
        };
        assert_eq!(
            drifts.differing,
            [
                named("exchange", "commands", "alternate-exchange"),
                named("exchange", "notify", "alternate-exchange"),
                named("exchange", "events", "type"),
                named("queue", "queries", "x-message-ttl"),
            ]
        );
    })
    .await;
}
