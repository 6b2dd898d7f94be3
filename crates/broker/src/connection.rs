//! One supervised connection to the broker.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub(crate) mod backoff;
pub(crate) mod connect;
pub(crate) mod session;
mod supervisor;
mod tls;
pub(crate) mod url;

use crate::config::BrokerConfig;
use crate::connection::session::{ConnectionState, Session, Shared};
use crate::connection::supervisor::Supervisor;
use crate::namespace::Namespace;
use crate::topology::Setup;

/// A handle on one supervised connection. Clones share it.
#[derive(Clone)]
pub struct Connection {
    shared: Arc<Shared>,
}

impl Connection {
    /// Starts connecting, and reconnects until `stop`. Returns at once, with or without a broker.
    ///
    /// Dropping every handle does not end the connection: only `stop` does.
    pub fn start(config: BrokerConfig, setup: Setup, stop: CancellationToken) -> Self {
        let shared = Arc::new(Shared::new(config, setup));
        tokio::spawn(Supervisor::new(Arc::clone(&shared), stop).run());
        Self { shared }
    }

    pub fn state(&self) -> watch::Receiver<ConnectionState> {
        self.shared.state.subscribe()
    }

    pub fn current_state(&self) -> ConnectionState {
        *self.shared.state.borrow()
    }

    /// Whether the connection can be used right now.
    pub fn is_up(&self) -> bool {
        self.current_state() == ConnectionState::Up
    }

    /// Returns when the connection has been closed after `stop`.
    pub async fn closed(&self) {
        self.shared.closed.cancelled().await;
    }

    /// Prefix of everything declared on it.
    pub fn namespace(&self) -> &Namespace {
        &self.shared.config.namespace
    }

    /// As given in [`BrokerConfig::connection_name`].
    pub fn name(&self) -> &str {
        &self.shared.config.connection_name
    }

    pub(crate) fn config(&self) -> &BrokerConfig {
        &self.shared.config
    }

    pub(crate) fn setup(&self) -> Setup {
        self.shared.setup
    }

    /// The current session, if there is one.
    pub(crate) fn session(&self) -> Option<Session> {
        self.shared.session.borrow().clone()
    }

    /// The current session as soon as it can be used. Never returns after the end.
    pub(crate) async fn usable_session(&self) -> Session {
        let mut state = self.state();
        loop {
            // Cannot fail: the sender lives in `shared`.
            let _ = state.wait_for(|state| *state == ConnectionState::Up).await;
            if let Some(session) = self.session() {
                return session;
            }
        }
    }

    pub(crate) fn is_current(&self, session: &Session) -> bool {
        session.is(self.shared.session.borrow().as_ref())
    }

    /// Returns when this session is no longer the current one.
    pub(crate) async fn lost(&self, session: &Session) {
        let mut current = self.shared.session.subscribe();
        let _ = current.wait_for(|current| !session.is(current.as_ref())).await;
    }

    /// Sets the topology up again on the current session, because a part of it is missing. If that
    /// fails, the connection goes down and starts again.
    pub(crate) fn recheck_topology(&self) {
        self.shared.recheck_topology.notify_one();
    }
}
