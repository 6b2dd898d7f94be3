//! Limits of a source on the public listener: networks, rate, connections.

use std::num::NonZeroU32;
use std::time::Duration;

use ingress::{Config, Limits, Networks};

use crate::http::{Answer, Connection, get, post};
use crate::samples::{NOTIFICATION, notify_path};
use crate::test_server::{TestServer, config_without_broker, until};

const ONE: &str = "127.0.0.1";
const OTHER: &str = "127.0.0.2";

fn networks(text: &str) -> Networks {
    Networks::parse(text).expect("networks")
}

/// A notification from one address of this machine, forwarded for another one.
async fn notify(server: &TestServer, from: &str, forwarded_for: Option<&str>) -> Answer {
    let mut request = post(notify_path(), NOTIFICATION);
    if let Some(address) = forwarded_for {
        request = request.header("X-Forwarded-For", address);
    }
    request.send_from(from, server.public).await
}

#[tokio::test]
async fn source_over_its_rate_is_answered_429() {
    let public_rate = NonZeroU32::MIN;
    let config = Config { public_rate, ..config_without_broker().await };
    let server = TestServer::start(config).await;
    until("a source is over its rate", async || notify(&server, ONE, None).await.status == 429)
        .await;
    let mut shed = notify(&server, ONE, None).await;
    while shed.status != 429 {
        shed = notify(&server, ONE, None).await;
    }
    shed.assert_fail(429);
    assert_eq!(shed.header("retry-after"), Some("1"));
    notify(&server, OTHER, None).await.assert_fail(503);
    // No proxy is trusted, so a header gives no source another bucket.
    until("a header changes nothing", async || {
        notify(&server, OTHER, Some("203.0.113.1")).await.status == 429
    })
    .await;
    assert_eq!(get("/healthz").send(server.private).await.status, 200);
}

#[tokio::test]
async fn sources_behind_a_proxy_have_their_own_rates() {
    let config = Config {
        public_rate: NonZeroU32::MIN,
        trusted_proxies: networks("127.0.0.2, 10.0.0.0/8"),
        ..config_without_broker().await
    };
    let server = TestServer::start(config).await;
    for n in 1..200 {
        let through = format!("192.0.2.66, 203.0.113.{n}, 10.0.0.1");
        notify(&server, OTHER, Some(&through)).await.assert_fail(503);
    }
    until("one of them is over its rate", async || {
        notify(&server, OTHER, Some("203.0.113.250")).await.status == 429
    })
    .await;
}

#[tokio::test]
async fn source_outside_allowed_networks_is_answered_403() {
    let config = Config {
        public_allow: Some(networks("127.0.0.2/31,203.0.113.0/24")),
        trusted_proxies: networks("127.0.0.3"),
        ..config_without_broker().await
    };
    let server = TestServer::start(config).await;
    notify(&server, ONE, None).await.assert_fail(403);
    notify(&server, ONE, Some("203.0.113.1")).await.assert_fail(403);
    get("/").send_from(ONE, server.public).await.assert_fail(403);
    notify(&server, OTHER, None).await.assert_fail(503);
    notify(&server, "127.0.0.3", Some("203.0.113.1")).await.assert_fail(503);
    notify(&server, "127.0.0.3", Some("203.0.114.1")).await.assert_fail(403);
    notify(&server, "127.0.0.3", Some("203.0.113.1, 203.0.114.1")).await.assert_fail(403);
    assert_eq!(get("/healthz").send(server.private).await.status, 200);
}

#[tokio::test]
async fn one_source_cannot_take_all_connections() {
    let limits = Limits {
        connections: 5,
        connections_per_source: 2,
        header_timeout: Duration::from_secs(600),
        ..Limits::default()
    };
    let trusted_proxies = networks("127.0.0.3");
    let config = Config { limits, trusted_proxies, ..config_without_broker().await };
    let server = TestServer::start(config).await;
    let request = get("/").bytes();
    let mut connections = Vec::new();
    // A trusted proxy is exempt.
    for from in [ONE, ONE, "127.0.0.3", "127.0.0.3", "127.0.0.3"] {
        let mut connection = Connection::open_from(from, server.public).await;
        connection.write(&request).await;
        connection.answer().await.assert_fail(404);
        connections.push(connection);
    }
    connections.truncate(2);
    for _ in 0..20 {
        Connection::open(server.public).await.closed().await;
    }
    get("/").send_from(OTHER, server.public).await.assert_fail(404);
    connections.pop();
    until("the source may open a connection again", async || {
        let mut connection = Connection::open(server.public).await;
        connection.try_ask(&request).await.is_some()
    })
    .await;
}
