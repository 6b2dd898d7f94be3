//! A broker that has stopped reading.

use crate::support::{
    LIMITS, SHORT, on_site,
    proxy::{Mode, Proxy},
    reaches, to,
};
use broker::{
    Connection, ConnectionState, Exchange, NotSentReason, PublishError, Publisher, Setup,
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// `connection.blocked` and `connection.unblocked` as the broker sends them in an alarm.
const BLOCKED: &[u8] = b"\x01\0\0\0\0\0\x0b\0\x0a\0\x3c\x06memory\xce";
const UNBLOCKED: &[u8] = b"\x01\0\0\0\0\0\x04\0\x0a\0\x3d\xce";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_broker_is_blocked_nothing_is_written() {
    on_site(|site| async move {
        let proxy = Proxy::start(Mode::Pass).await;
        let connection = site.connection_as(site.config_at(proxy.port), Setup::Declare).await;
        let publisher = Publisher::start(connection.clone(), LIMITS);
        publisher.publish(to(Exchange::Notify, "payment"), SHORT).await.unwrap();
        proxy.say(BLOCKED).await;
        reaches(&connection, ConnectionState::Blocked).await;
        let answer = publisher.publish(to(Exchange::Notify, "payment"), SHORT).await;
        assert_eq!(answer, Err(PublishError::NotSent(NotSentReason::Blocked)));
        proxy.say(UNBLOCKED).await;
        reaches(&connection, ConnectionState::Up).await;
        publisher.publish(to(Exchange::Notify, "payment"), SHORT).await.unwrap();
        site.eyes().await.reaches_count(&site.name("notifications"), 2).await;
    })
    .await;
}

/// A connection that is stopped while the broker reads nothing does not hang.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blocked_or_stalled_link_can_be_stopped() {
    on_site(|site| async move {
        for blocked in [true, false] {
            let proxy = Proxy::start(Mode::Pass).await;
            let stop = CancellationToken::new();
            let connection =
                Connection::start(site.config_at(proxy.port), Setup::Declare, stop.clone());
            reaches(&connection, ConnectionState::Up).await;
            match blocked {
                true => {
                    proxy.say(BLOCKED).await;
                    reaches(&connection, ConnectionState::Blocked).await;
                }
                false => proxy.switch(Mode::Stall),
            }
            stop.cancel();
            timeout(SHORT, connection.closed()).await.expect("the connection ends");
        }
    })
    .await;
}
