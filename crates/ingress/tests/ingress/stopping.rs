//! How the service stops.

use std::time::Duration;

use ingress::{Clients, Config, Limits, Listeners};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::http::{Connection, get, post};
use crate::samples::{NOTIFICATION, notify_path};
use crate::test_server::{TestServer, config_without_broker, until};

#[tokio::test]
async fn requests_in_flight_are_finished_on_stop() {
    let limits =
        Limits { requests: 1, public_body_timeout: Duration::from_secs(600), ..Limits::default() };
    let server = TestServer::start(Config { limits, ..config_without_broker().await }).await;
    let notification = post(notify_path(), NOTIFICATION);
    let mut in_flight = Connection::open(server.public).await;
    in_flight.write(&notification.head()).await;
    until("the request is in flight", async || {
        notification.send(server.public).await.text().contains("busy")
    })
    .await;
    let mut idle = Connection::open(server.private).await;
    idle.write(&get("/healthz").bytes()).await;
    assert_eq!(idle.answer().await.status, 200);

    server.stop.cancel();
    idle.closed().await;
    until("the listener is closed", async || {
        tokio::net::TcpStream::connect(server.public).await.is_err()
    })
    .await;
    in_flight.write(NOTIFICATION.as_bytes()).await;
    let answer = in_flight.answer().await;
    answer.assert_fail(503);
    assert_eq!(answer.header("connection"), Some("close"));
    server.end().await.unwrap();
}

#[tokio::test]
async fn requests_over_the_drain_time_are_cut_off() {
    let limits = Limits {
        public_body_timeout: Duration::from_secs(600),
        drain_timeout: Duration::from_millis(100),
        ..Limits::default()
    };
    let server = TestServer::start(Config { limits, ..config_without_broker().await }).await;
    let mut endless = Connection::open(server.public).await;
    endless.write(&post(notify_path(), NOTIFICATION).head()).await;
    server.end().await.unwrap();
    endless.closed().await;
}

#[tokio::test]
async fn private_listener_open_to_all_needs_clients() {
    let everywhere = async || Listeners {
        public: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        private: TcpListener::bind("0.0.0.0:0").await.unwrap(),
    };
    let stopped = CancellationToken::new();
    stopped.cancel();
    let config = config_without_broker().await;
    let refused = ingress::run(config.clone(), everywhere().await, stopped.clone()).await;
    assert!(refused.unwrap_err().to_string().contains("loopback"));
    let clients = Clients::parse("[[client]]\nname = \"shop\"\nmch_ids = \"*\"").unwrap();
    let config = Config { clients: Some(clients), ..config };
    ingress::run(config, everywhere().await, stopped).await.unwrap();
}
