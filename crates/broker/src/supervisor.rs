//! Keeps a link's connection alive: connect, set up, watch, and start again.
//!
//! `lapin`'s own recovery is left off: it is young, gives up after eleven minutes, has no jitter,
//! and does not re-open a channel that the broker closed (engineering, section 2.1).

use std::{pin::pin, sync::Arc, time::Duration};

use futures_util::StreamExt;
use lapin::Event;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    BrokerError,
    complaint::Complaint,
    connection::{ConnectionState, Session, Shared},
    delays::Delays,
    dial::Wire,
    topology::apply::set_up,
};

/// The events do not tell of every way in which a connection can end, so it is also looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub(crate) struct Supervisor {
    shared: Arc<Shared>,
    stop: CancellationToken,
    generation: u64,
    complaint: Complaint,
}

impl Supervisor {
    pub(crate) fn new(shared: Arc<Shared>, stop: CancellationToken) -> Self {
        Self { shared, stop, generation: 0, complaint: Complaint::default() }
    }

    pub(crate) async fn run(mut self) {
        let mut delays = Delays::new();
        self.report(ConnectionState::Down);
        while !self.stop.is_cancelled() {
            let attempt = tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                attempt = self.establish() => attempt,
            };
            match attempt {
                Ok(wire) => {
                    let since = Instant::now();
                    self.serve(wire).await;
                    delays.reset_after(since.elapsed());
                }
                Err(problem) => self.complain(&problem),
            }
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = sleep(delays.next()) => {}
            }
        }
        self.shared.ended.cancel();
    }

    async fn establish(&self) -> Result<Wire, BrokerError> {
        let wire = Wire::dial(&self.shared.config).await?;
        match self.set_up(&wire).await {
            Ok(()) => Ok(wire),
            Err(problem) => {
                wire.hang_up().await;
                Err(problem)
            }
        }
    }

    async fn set_up(&self, wire: &Wire) -> Result<(), BrokerError> {
        set_up(wire.connection(), &self.shared.config.namespace, self.shared.setup).await
    }

    /// Lends the connection out until it breaks or we are stopped.
    async fn serve(&mut self, wire: Wire) {
        self.generation += 1;
        self.complaint.settled();
        let connection = Arc::clone(wire.connection());
        let session = Session { generation: self.generation, connection };
        self.shared.session.send_replace(Some(session));
        tracing::info!(connection = self.name(), "connected to the broker");

        self.watch(&wire).await;

        self.report(ConnectionState::Down);
        self.shared.session.send_replace(None);
        wire.hang_up().await;
    }

    async fn watch(&mut self, wire: &Wire) {
        let status = wire.connection().status();
        let mut events = pin!(wire.connection().events_listener());
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while status.connected() {
            self.report(if status.blocked() {
                ConnectionState::Blocked
            } else {
                ConnectionState::Up
            });
            tokio::select! {
                () = self.stop.cancelled() => return,
                Some(event) = events.next() => self.note(event),
                // A blocked connection would not answer; the doubt keeps.
                () = self.shared.doubt.notified(), if !status.blocked() => {
                    if let Err(problem) = self.set_up(wire).await {
                        return self.complain(&problem);
                    }
                }
                _ = look.tick() => {}
            }
        }
        tracing::warn!(connection = self.name(), "lost the connection to the broker");
    }

    fn note(&self, event: Event) {
        let connection = self.name();
        match event {
            Event::ConnectionBlocked(reason) => {
                tracing::warn!(connection, reason, "the broker has stopped reading from us");
            }
            Event::ConnectionUnblocked => {
                tracing::info!(connection, "the broker reads from us again");
            }
            // Of the connection or of one of its channels; both are looked into by their users.
            Event::Error(error) => {
                tracing::warn!(connection, %error, "the broker reported an error")
            }
            _ => {}
        }
    }

    fn complain(&mut self, problem: &BrokerError) {
        let connection = &self.shared.config.connection_name;
        if let Some(news) = self.complaint.news(problem) {
            tracing::error!(connection, "cannot use the broker, and keep trying: {news}");
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
