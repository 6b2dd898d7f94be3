//! A broker that blocks its connections.

use broker::{Connection, ConnectionState, Exchange, NotSentReason, PublishError};
use broker::{Publisher, Setup};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::support::proxy::{Mode, Proxy};
use crate::support::{LIMITS, SHORT, in_namespace, message_to, wait_for_state};

/// `connection.blocked` and `connection.unblocked` as the broker sends them.
const BLOCKED: &[u8] = b"\x01\0\0\0\0\0\x0b\0\x0a\0\x3c\x06memory\xce";
const UNBLOCKED: &[u8] = b"\x01\0\0\0\0\0\x04\0\x0a\0\x3d\xce";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_written_while_the_broker_blocks() {
    in_namespace(|namespace| async move {
        let proxy = Proxy::start(Mode::Pass).await;
        let connection =
            namespace.connection_as(namespace.config_at(proxy.port), Setup::Declare).await;
        let publisher = Publisher::start(connection.clone(), LIMITS);
        publisher.publish(message_to(Exchange::Notify, "payment"), SHORT).await.unwrap();
        proxy.send_to_client(BLOCKED).await;
        wait_for_state(&connection, ConnectionState::Blocked).await;
        let answer = publisher.publish(message_to(Exchange::Notify, "payment"), SHORT).await;
        assert_eq!(answer, Err(PublishError::NotSent(NotSentReason::Blocked)));
        proxy.send_to_client(UNBLOCKED).await;
        wait_for_state(&connection, ConnectionState::Up).await;
        publisher.publish(message_to(Exchange::Notify, "payment"), SHORT).await.unwrap();
        namespace.raw_client().await.wait_for_count(&namespace.name("notifications"), 2).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocked_or_stalled_connection_can_be_stopped() {
    in_namespace(|namespace| async move {
        for blocked in [true, false] {
            let proxy = Proxy::start(Mode::Pass).await;
            let stop = CancellationToken::new();
            let connection =
                Connection::start(namespace.config_at(proxy.port), Setup::Declare, stop.clone());
            wait_for_state(&connection, ConnectionState::Up).await;
            if blocked {
                proxy.send_to_client(BLOCKED).await;
                wait_for_state(&connection, ConnectionState::Blocked).await;
            } else {
                proxy.switch(Mode::Stall);
            }
            stop.cancel();
            timeout(SHORT, connection.closed()).await.expect("the connection ends");
        }
    })
    .await;
}
