//! Who may use the public listener, how often, and on how many connections.

use std::{num::NonZeroU32, time::Duration};

use ingress::{Config, Limits, Networks};

use crate::{
    http::{Answer, Connection, get, post},
    service::{Service, config_without_broker, until},
    texts::{NOTIFICATION, notify_path},
};

const ONE: &str = "127.0.0.1";
const OTHER: &str = "127.0.0.2";

fn networks(text: &str) -> Networks {
    Networks::parse(text).expect("networks")
}

/// A notification from one address of this machine, said to come from `forwarded_for`.
async fn notify(service: &Service, from: &str, forwarded_for: Option<&str>) -> Answer {
    let mut request = post(notify_path(), NOTIFICATION);
    if let Some(address) = forwarded_for {
        request = request.header("X-Forwarded-For", address);
    }
    request.send_from(from, service.public).await
}

#[tokio::test]
async fn a_source_beyond_its_rate_is_told_to_wait() {
    let public_rate = NonZeroU32::MIN;
    let config = Config { public_rate, ..config_without_broker().await };
    let service = Service::start(config).await;
    until("a source is over its rate", async || notify(&service, ONE, None).await.status == 429)
        .await;
    let mut shed = notify(&service, ONE, None).await;
    while shed.status != 429 {
        shed = notify(&service, ONE, None).await;
    }
    shed.assert_fail(429);
    assert_eq!(shed.header("retry-after"), Some("1"));
    notify(&service, OTHER, None).await.assert_fail(503);
    // Nobody is trusted, so nobody gets another bucket by writing a header.
    until("a header changes nothing", async || {
        notify(&service, OTHER, Some("203.0.113.1")).await.status == 429
    })
    .await;
    assert_eq!(get("/healthz").send(service.private).await.status, 200);
}

#[tokio::test]
async fn sources_behind_a_proxy_are_told_apart() {
    let config = Config {
        public_rate: NonZeroU32::MIN,
        trusted_proxies: networks("127.0.0.2, 10.0.0.0/8"),
        ..config_without_broker().await
    };
    let service = Service::start(config).await;
    for n in 1..200 {
        let through = format!("192.0.2.66, 203.0.113.{n}, 10.0.0.1");
        notify(&service, OTHER, Some(&through)).await.assert_fail(503);
    }
    until("one of them is over its rate", async || {
        notify(&service, OTHER, Some("203.0.113.250")).await.status == 429
    })
    .await;
}

#[tokio::test]
async fn only_networks_that_are_allowed_come_in() {
    let config = Config {
        public_allow: Some(networks("127.0.0.2/31,203.0.113.0/24")),
        trusted_proxies: networks("127.0.0.3"),
        ..config_without_broker().await
    };
    let service = Service::start(config).await;
    notify(&service, ONE, None).await.assert_fail(403);
    notify(&service, ONE, Some("203.0.113.1")).await.assert_fail(403);
    get("/").send_from(ONE, service.public).await.assert_fail(403);
    notify(&service, OTHER, None).await.assert_fail(503);
    notify(&service, "127.0.0.3", Some("203.0.113.1")).await.assert_fail(503);
    notify(&service, "127.0.0.3", Some("203.0.114.1")).await.assert_fail(403);
    notify(&service, "127.0.0.3", Some("203.0.113.1, 203.0.114.1")).await.assert_fail(403);
    assert_eq!(get("/healthz").send(service.private).await.status, 200);
}

#[tokio::test]
async fn no_source_takes_every_place() {
    let limits = Limits {
        connections: 5,
        connections_per_source: 2,
        header_within: Duration::from_secs(600),
        ..Limits::default()
    };
    let trusted_proxies = networks("127.0.0.3");
    let config = Config { limits, trusted_proxies, ..config_without_broker().await };
    let service = Service::start(config).await;
    let request = get("/").bytes();
    let mut held = Vec::new();
    // A trusted proxy stands for many.
    for from in [ONE, ONE, "127.0.0.3", "127.0.0.3", "127.0.0.3"] {
        let mut connection = Connection::open_from(from, service.public).await;
        connection.write(&request).await;
        connection.answer().await.assert_fail(404);
        held.push(connection);
    }
    held.truncate(2);
    for _ in 0..20 {
        Connection::open(service.public).await.ended().await;
    }
    get("/").send_from(OTHER, service.public).await.assert_fail(404);
    held.pop();
    until("there is room for it again", async || {
        let mut connection = Connection::open(service.public).await;
        connection.try_ask(&request).await.is_some()
    })
    .await;
}
