//! Many requests on one connection, written before any answer is read.

use std::time::Duration;

use ingress::{Config, Limits};
use tokio::time::timeout;

use crate::http::{Connection, DEADLINE, get, post};
use crate::samples::{NOTIFICATION, notify_path};
use crate::test_server::{TestServer, config_without_broker};

#[tokio::test]
async fn pipelined_answers_come_in_the_order_of_requests() {
    // One at a time: a second one in flight would be shed.
    let limits = Limits { requests: 1, ..Limits::default() };
    let server = TestServer::start(Config { limits, ..config_without_broker().await }).await;
    let mut connection = Connection::open(server.public).await;
    let requests = [
        post(notify_path(), NOTIFICATION).bytes(),
        get("/nothing").bytes(),
        get(notify_path()).bytes(),
        post(notify_path(), "{}").bytes(),
    ];
    let rounds = 50;
    connection.write(&requests.concat().repeat(rounds)).await;
    for round in 0..rounds {
        let first = connection.answer().await;
        assert!(first.text().contains("not accepted"), "{round}: {}", first.text());
        for status in [404, 405, 400] {
            connection.answer().await.assert_fail(status);
        }
    }
}

#[tokio::test]
async fn unread_answers_close_the_connection() {
    let within = Duration::from_millis(100);
    let limits = Limits { answer_read_timeout: within, ..Limits::default() };
    let server = TestServer::start(Config { limits, ..config_without_broker().await }).await;
    // An answer much longer than its request.
    let request = get("/openapi.json").bytes();
    let mut deaf = Connection::open(server.private).await;
    timeout(DEADLINE, deaf.pour(&request)).await.expect("is cut off in time");
}
