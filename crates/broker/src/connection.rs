//! One connection to the broker, watched over.

use std::sync::Arc;

use lapin::Channel;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    BrokerConfig, BrokerError, Namespace, TopologyMode, error::bounded, supervisor::Supervisor,
};

/// What is done with the topology after each connection, before anybody may use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// Declare everything.
    Declare,
    /// Check that everything is there.
    Check,
    /// Check the exchanges `commands` and `notify` only: all that a user without configure and
    /// read permission (the ingress) has to do with.
    CheckPublishOnly,
}

impl From<TopologyMode> for Setup {
    fn from(mode: TopologyMode) -> Self {
        match mode {
            TopologyMode::Declare => Self::Declare,
            TopologyMode::Check => Self::Check,
        }
    }
}

/// How the connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionState {
    /// Not connected, or the topology is not as it should be. Being worked on.
    Down,
    /// Connected, but the broker is short of memory or disk and reads nothing from us.
    Blocked,
    /// Connected and usable.
    Up,
}

/// A handle on one supervised connection. Clones share it.
#[derive(Clone)]
pub struct Connection {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) config: BrokerConfig,
    pub(crate) setup: Setup,
    /// Set before the state says `Up`, cleared after it has said `Down`.
    pub(crate) session: watch::Sender<Option<Session>>,
    pub(crate) state: watch::Sender<ConnectionState>,
    /// Somebody found a part of the topology missing.
    pub(crate) doubt: Notify,
    pub(crate) ended: CancellationToken,
}

impl Connection {
    /// Starts connecting, and goes on until `stop`. Returns at once; there need be no broker yet.
    ///
    /// Dropping every handle does not end it: `stop` does.
    pub fn start(config: BrokerConfig, setup: Setup, stop: CancellationToken) -> Self {
        let shared = Arc::new(Shared {
            config,
            setup,
            session: watch::Sender::new(None),
            state: watch::Sender::new(ConnectionState::Down),
            doubt: Notify::new(),
            ended: CancellationToken::new(),
        });
        tokio::spawn(Supervisor::new(Arc::clone(&shared), stop).run());
        Self { shared }
    }

    /// Follows the state.
    pub fn state(&self) -> watch::Receiver<ConnectionState> {
        self.shared.state.subscribe()
    }

    /// Whether the connection can be used right now.
    pub fn is_up(&self) -> bool {
        self.current_state() == ConnectionState::Up
    }

    /// The state right now.
    pub fn current_state(&self) -> ConnectionState {
        *self.shared.state.borrow()
    }

    /// Returns when the connection has been closed after `stop`.
    pub async fn closed(&self) {
        self.shared.ended.cancelled().await;
    }

    pub(crate) fn config(&self) -> &BrokerConfig {
        &self.shared.config
    }

    /// Prefix of everything declared on it.
    pub fn namespace(&self) -> &Namespace {
        &self.shared.config.namespace
    }

    /// As given in [`BrokerConfig::connection_name`].
    pub fn name(&self) -> &str {
        &self.shared.config.connection_name
    }

    /// What is done with the topology.
    pub(crate) fn setup(&self) -> Setup {
        self.shared.setup
    }

    /// The current connection, if there is one.
    pub(crate) fn session(&self) -> Option<Session> {
        self.shared.session.borrow().clone()
    }

    /// The current connection as soon as it can be used. Never returns after the end.
    pub(crate) async fn usable_session(&self) -> Session {
        let mut state = self.state();
        loop {
            // The sender lives in `shared`, so that neither wait can fail.
            let _ = state.wait_for(|state| *state == ConnectionState::Up).await;
            if let Some(session) = self.session() {
                return session;
            }
        }
    }

    /// Whether this connection is still the current one.
    pub(crate) fn is_current(&self, session: &Session) -> bool {
        session.is(self.shared.session.borrow().as_ref())
    }

    /// Returns when this connection is no longer the current one.
    pub(crate) async fn lost(&self, session: &Session) {
        let mut current = self.shared.session.subscribe();
        let _ = current.wait_for(|current| !session.is(current.as_ref())).await;
    }

    /// Has the topology set up once more on the present connection, because something in it was
    /// found missing. A check that fails takes the link down.
    pub(crate) fn doubt_topology(&self) {
        self.shared.doubt.notify_one();
    }
}

/// One connection out of the succession of them.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) generation: u64,
    pub(crate) connection: Arc<lapin::Connection>,
}

impl Session {
    fn is(&self, other: Option<&Self>) -> bool {
        other.is_some_and(|other| other.generation == self.generation)
    }

    pub(crate) async fn open_channel(&self) -> Result<Channel, BrokerError> {
        bounded("opening a channel", self.connection.create_channel()).await
    }
}
