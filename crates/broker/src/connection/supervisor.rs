//! Keeps a connection alive: connect, set the topology up, watch, and start again.
//!
//! The client library's own recovery stays off: it gives up after eleven minutes, has no jitter,
//! and never reopens a channel that the broker closed.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use lapin::Event;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::connection::backoff::Backoff;
use crate::connection::connect::AmqpConnection;
use crate::connection::session::{ConnectionState, Session, Shared};
use crate::error::BrokerError;
use crate::error_deduplicator::ErrorDeduplicator;
use crate::topology::declare::set_up;

/// The library does not report every way in which a connection can end, so its status is polled
/// too.
const STATUS_CHECK_INTERVAL: Duration = Duration::from_secs(1);

pub(super) struct Supervisor {
    shared: Arc<Shared>,
    stop: CancellationToken,
    generation: u64,
    errors: ErrorDeduplicator,
}

impl Supervisor {
    pub(super) fn new(shared: Arc<Shared>, stop: CancellationToken) -> Self {
        Self { shared, stop, generation: 0, errors: ErrorDeduplicator::default() }
    }

    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::new();
        self.report(ConnectionState::Down);
        while !self.stop.is_cancelled() {
            let attempt = tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                attempt = self.establish() => attempt,
            };
            match attempt {
                Ok(connection) => {
                    let since = Instant::now();
                    self.serve(connection).await;
                    backoff.reset_after(since.elapsed());
                }
                Err(error) => self.log_error(&error),
            }
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = sleep(backoff.next()) => {}
            }
        }
        self.shared.closed.cancel();
    }

    async fn establish(&self) -> Result<AmqpConnection, BrokerError> {
        let connection = AmqpConnection::connect(&self.shared.config).await?;
        match self.set_up_topology(&connection).await {
            Ok(()) => Ok(connection),
            Err(error) => {
                connection.close().await;
                Err(error)
            }
        }
    }

    async fn set_up_topology(&self, connection: &AmqpConnection) -> Result<(), BrokerError> {
        set_up(connection.amqp(), &self.shared.config.namespace, self.shared.setup).await
    }

    /// Publishes the session until it breaks or `stop`.
    async fn serve(&mut self, connection: AmqpConnection) {
        self.generation += 1;
        self.errors.reset();
        let session = Session { generation: self.generation, amqp: Arc::clone(connection.amqp()) };
        self.shared.session.send_replace(Some(session));
        tracing::info!(connection = self.name(), "connected to the broker");

        self.watch(&connection).await;

        self.report(ConnectionState::Down);
        self.shared.session.send_replace(None);
        connection.close().await;
    }

    async fn watch(&mut self, connection: &AmqpConnection) {
        let status = connection.amqp().status();
        let mut events = pin!(connection.amqp().events_listener());
        let mut status_check = interval(STATUS_CHECK_INTERVAL);
        status_check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while status.connected() {
            let blocked = status.blocked();
            self.report(if blocked { ConnectionState::Blocked } else { ConnectionState::Up });
            tokio::select! {
                () = self.stop.cancelled() => return,
                Some(event) = events.next() => self.log_event(event),
                // A blocked connection would not answer; the notification is kept until then.
                () = self.shared.recheck_topology.notified(), if !blocked => {
                    if let Err(error) = self.set_up_topology(connection).await {
                        return self.log_error(&error);
                    }
                }
                _ = status_check.tick() => {}
            }
        }
        tracing::warn!(connection = self.name(), "lost the connection to the broker; reconnecting");
    }

    fn log_event(&self, event: Event) {
        let connection = self.name();
        match event {
            Event::ConnectionBlocked(reason) => {
                tracing::warn!(
                    connection,
                    reason,
                    "the broker blocked the connection: free its memory or disk"
                );
            }
            Event::ConnectionUnblocked => {
                tracing::info!(connection, "the broker unblocked the connection");
            }
            // Of the connection or of one of its channels; the owner of each handles it.
            Event::Error(error) => {
                tracing::warn!(connection, %error, "the broker reported an error")
            }
            _ => {}
        }
    }

    fn log_error(&mut self, error: &BrokerError) {
        let connection = &self.shared.config.connection_name;
        if let Some(error) = self.errors.changed(error) {
            tracing::error!(connection, "cannot use the broker, retrying: {error}");
        }
    }

    fn report(&self, state: ConnectionState) {
        let changed = self.shared.state.send_if_modified(|current| {
            let changed = *current != state;
            *current = state;
            changed
        });
        if changed || state == ConnectionState::Down {
            let connected = if state == ConnectionState::Down { 0.0 } else { 1.0 };
            let labels = [("connection", self.name().to_owned())];
            metrics::gauge!("wxpay_broker_connected", &labels).set(connected);
        }
    }

    fn name(&self) -> &str {
        &self.shared.config.connection_name
    }
}
