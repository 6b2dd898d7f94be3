//! The end of the service.

use std::time::Duration;

use ingress::{Clients, Config, Limits, Listeners};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    http::{Connection, get, post},
    service::{Service, config_without_broker, until},
    texts::{NOTIFICATION, notify_path},
};

#[tokio::test]
async fn what_is_in_flight_is_finished() {
    let limits = Limits { public_body_within: Duration::from_secs(600), ..Limits::default() };
    let service = Service::start(Config { limits, ..config_without_broker().await }).await;
    let mut in_flight = Connection::open(service.public).await;
    in_flight.write(&post(notify_path(), NOTIFICATION).head()).await;
    let mut idle = Connection::open(service.private).await;
    idle.write(&get("/healthz").bytes()).await;
    assert_eq!(idle.answer().await.status, 200);

    service.stop.cancel();
    idle.ended().await;
    until("nobody listens any more", async || {
        tokio::net::TcpStream::connect(service.public).await.is_err()
    })
    .await;
    in_flight.write(NOTIFICATION.as_bytes()).await;
    let answer = in_flight.answer().await;
    answer.assert_fail(503);
    assert_eq!(answer.header("connection"), Some("close"));
    service.end().await.unwrap();
}

#[tokio::test]
async fn what_takes_too_long_is_cut_off() {
    let limits = Limits {
        public_body_within: Duration::from_secs(600),
        drain_within: Duration::from_millis(100),
        ..Limits::default()
    };
    let service = Service::start(Config { limits, ..config_without_broker().await }).await;
    let mut endless = Connection::open(service.public).await;
    endless.write(&post(notify_path(), NOTIFICATION).head()).await;
    service.end().await.unwrap();
    endless.ended().await;
}

#[tokio::test]
async fn a_private_listener_open_to_all_needs_clients() {
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
