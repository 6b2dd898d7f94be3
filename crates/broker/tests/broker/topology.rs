//! Declaring, checking, measuring and removing the topology.

use std::time::Duration;

use crate::support::{SHORT, on_site, reaches, to};
use broker::{ConnectionState, Queue, Setup, exchange_name, queue_depths, queue_name, topology};
use lapin::types::{AMQPValue, FieldTable};
use tokio::time::timeout;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_can_be_declared_twice_and_checked() {
    on_site(|site| async move {
        for setup in [Setup::Declare, Setup::Declare, Setup::Check, Setup::CheckPublishOnly] {
            site.connection_as(site.config.clone(), setup).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_names_are_there_and_under_the_namespace() {
    on_site(|site| async move {
        let connection = site.connection().await;
        let publisher = broker::Publisher::start(connection.clone(), crate::support::LIMITS);
        publisher.publish(to(broker::Exchange::Notify, topology::REFUND), SHORT).await.unwrap();
        site.eyes().await.reaches_count(&site.name("notifications"), 1).await;
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
        .map(|name| site.name(name))
        .into();
        for queue in ["orders", "notifications"] {
            for step in ["5s", "30s", "2m", "10m"] {
                expected.push(site.name(&format!("{queue}.delay.{step}")));
            }
        }
        expected.sort_unstable();
        assert_eq!(names, expected);
        let full: Vec<_> = depths.iter().filter(|it| it.messages > 0).collect();
        assert_eq!(full.len(), 1);
        assert_eq!(full[0].queue, queue_name(&site.config.namespace, Queue::Notifications));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_waits_for_whoever_declares() {
    on_site(|site| async move {
        let checking = site.start_connection(site.config.clone(), Setup::Check);
        let mut states = checking.state();
        let up = states.wait_for(|state| *state == ConnectionState::Up);
        assert!(timeout(Duration::from_secs(2), up).await.is_err(), "there is nothing yet");
        site.connection().await;
        reaches(&checking, ConnectionState::Up).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ingress_needs_two_exchanges_only() {
    on_site(|site| async move {
        let eyes = site.eyes().await;
        for exchange in [broker::Exchange::Commands, broker::Exchange::Notify] {
            let name = exchange_name(&site.config.namespace, exchange);
            let kind = lapin::ExchangeKind::Direct;
            let declare = eyes.channel.exchange_declare(
                name.as_str().into(),
                kind,
                Default::default(),
                FieldTable::default(),
            );
            declare.await.unwrap();
        }
        site.connection_as(site.config.clone(), Setup::CheckPublishOnly).await;
    })
    .await;
}

/// Somebody declared a queue of ours in another way: we say so and stay down.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topology_that_differs_keeps_the_link_down() {
    on_site(|site| async move {
        let eyes = site.eyes().await;
        let name = site.name("orders");
        let options = lapin::options::QueueDeclareOptions { durable: true, ..Default::default() };
        let declare =
            eyes.channel.queue_declare(name.as_str().into(), options, FieldTable::default());
        declare.await.unwrap();
        let connection = site.start_connection(site.config.clone(), Setup::Declare);
        let mut states = connection.state();
        let up = states.wait_for(|state| *state == ConnectionState::Up);
        assert!(timeout(Duration::from_secs(2), up).await.is_err());
        eyes.channel.queue_delete(name.as_str().into(), Default::default()).await.unwrap();
        reaches(&connection, ConnectionState::Up).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleting_leaves_nothing() {
    on_site(|site| async move {
        let connection = site.connection().await;
        broker::delete_topology(&site.config).await.unwrap();
        let problem = queue_depths(&connection).await.unwrap_err();
        assert!(problem.is_not_found(), "{problem}");
        let text = problem.to_string();
        assert!(text.contains(&site.name("unrouted")), "{text}");
    })
    .await;
}

/// What brings the worker down again and again ends where a human sees it, as what it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_broker_parks_what_is_delivered_too_often() {
    on_site(|site| async move {
        let publisher = site.publisher().await;
        let message = to(broker::Exchange::Notify, topology::PAYMENT);
        publisher.publish(message, SHORT).await.unwrap();
        let mut eyes = site.eyes().await;
        let (work, parked) = (site.name("notifications"), site.name("notifications.parked"));
        let mut deliveries = 0;
        while eyes.count(&parked).await != Some(1) {
            let got = eyes.channel.basic_get(work.as_str().into(), Default::default()).await;
            if let Some(got) = got.unwrap() {
                deliveries += 1;
                assert!(deliveries <= 21, "there is no delivery limit");
                let back = lapin::options::BasicRejectOptions { requeue: true };
                got.delivery.acker.reject(back).await.unwrap();
            }
        }
        let parked = eyes.take(&parked).await;
        assert_eq!(parked.routing_key, "payment");
        let Some(AMQPValue::FieldArray(deaths)) = parked.header("x-death") else { panic!() };
        let AMQPValue::FieldTable(death) = &deaths.as_slice()[0] else { panic!() };
        let reason = death.inner().get("reason");
        assert_eq!(reason, Some(&AMQPValue::LongString("delivery_limit".into())));
        assert_eq!(deliveries, 21);
    })
    .await;
}

/// What a look finds, sorted out: what is missing and what differs.
async fn found(site: &crate::support::Site) -> (Vec<String>, Vec<(String, String)>) {
    let survey = broker::survey(&site.config).await.unwrap();
    assert_eq!((survey.parts, survey.uncompared), (28, 0), "{survey:?}");
    let (mut missing, mut differing) = (Vec::new(), Vec::new());
    for broker::TopologyDrift { part, kind } in survey.drifts {
        match kind {
            broker::DriftKind::Missing => missing.push(part),
            broker::DriftKind::Differs(what) => differing.push((part, what)),
        }
    }
    (missing, differing)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_names_what_is_missing_and_makes_nothing() {
    on_site(|site| async move {
        for _ in 0..2 {
            assert_eq!(found(&site).await.0.len(), 28, "looking made something");
        }
        site.connection().await;
        assert_eq!(found(&site).await, (vec![], vec![]));
        let eyes = site.eyes().await;
        let (queue, exchange) = (site.name("orders.delay.2m"), site.name("events"));
        eyes.channel.queue_delete(queue.as_str().into(), Default::default()).await.unwrap();
        eyes.channel.exchange_delete(exchange.as_str().into(), Default::default()).await.unwrap();
        let missing = vec![format!("exchange {exchange}"), format!("queue {queue}")];
        for _ in 0..2 {
            assert_eq!(found(&site).await, (missing.clone(), vec![]));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_names_what_is_different() {
    on_site(|site| async move {
        site.connection().await;
        let eyes = site.eyes().await;
        let declare_exchange = async |name: &str, kind, table: FieldTable| {
            let name = site.name(name);
            eyes.channel.exchange_delete(name.as_str().into(), Default::default()).await.unwrap();
            let options =
                lapin::options::ExchangeDeclareOptions { durable: true, ..Default::default() };
            let declare = eyes.channel.exchange_declare(name.into(), kind, options, table);
            declare.await.unwrap();
        };
        let table = |name: &str, value| {
            let mut table = FieldTable::default();
            table.insert(name.into(), value);
            table
        };
        let elsewhere = AMQPValue::LongString("elsewhere".into());
        let kind = lapin::ExchangeKind::Direct;
        declare_exchange("commands", kind.clone(), FieldTable::default()).await;
        declare_exchange("notify", kind.clone(), table("alternate-exchange", elsewhere)).await;
        declare_exchange("events", kind, FieldTable::default()).await;
        let name = site.name("queries");
        eyes.channel.queue_delete(name.as_str().into(), Default::default()).await.unwrap();
        let options = lapin::options::QueueDeclareOptions { durable: true, ..Default::default() };
        let ttl = table("x-message-ttl", AMQPValue::LongLongInt(1));
        eyes.channel.queue_declare(name.as_str().into(), options, ttl).await.unwrap();
        let (missing, differing) = found(&site).await;
        assert_eq!(missing, [""; 0]);
        let named = |kind: &str, name: &str, what: &str| {
            (format!("{kind} {}", site.name(name)), what.to_owned())
        };
        assert_eq!(
            differing,
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
