//! The state that a connection's handles and its supervisor share.

use std::sync::Arc;

use lapin::Channel;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::amqp_channel;
use crate::config::BrokerConfig;
use crate::error::BrokerError;
use crate::topology::Setup;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionState {
    /// Not connected, or the topology is not as it should be. The supervisor is working on it.
    Down,
    /// Connected, but the broker is short of memory or disk and reads nothing from us.
    Blocked,
    Up,
}

/// One AMQP connection out of the succession of them.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) generation: u64,
    pub(crate) amqp: Arc<lapin::Connection>,
}

impl Session {
    pub(crate) fn is(&self, other: Option<&Self>) -> bool {
        other.is_some_and(|other| other.generation == self.generation)
    }

    pub(crate) async fn open_channel(&self) -> Result<Channel, BrokerError> {
        amqp_channel::open(&self.amqp).await
    }
}

pub(crate) struct Shared {
    pub(crate) config: BrokerConfig,
    pub(crate) setup: Setup,
    /// Set before the state becomes `Up`, cleared after it has become `Down`.
    pub(crate) session: watch::Sender<Option<Session>>,
    pub(crate) state: watch::Sender<ConnectionState>,
    pub(crate) recheck_topology: Notify,
    pub(crate) closed: CancellationToken,
}

impl Shared {
    pub(crate) fn new(config: BrokerConfig, setup: Setup) -> Self {
        Self {
            config,
            setup,
            session: watch::Sender::new(None),
            state: watch::Sender::new(ConnectionState::Down),
            recheck_topology: Notify::new(),
            closed: CancellationToken::new(),
        }
    }
}
