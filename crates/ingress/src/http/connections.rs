//! The open connections of a listener.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use service::metrics::names;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::http::source::{Peer, Source};

/// Bounds the connections of a listener and of each source.
pub(crate) struct Connections {
    listener: &'static str,
    permits: Arc<Semaphore>,
    per_source_max: usize,
    /// At most one entry for each permit.
    by_source: Mutex<HashMap<IpAddr, usize>>,
}

/// Counts one connection until it is dropped.
pub(crate) struct ConnectionPermit {
    connections: Arc<Connections>,
    source: IpAddr,
    _permit: OwnedSemaphorePermit,
}

impl Connections {
    pub(crate) fn new(listener: &'static str, max: usize, per_source_max: usize) -> Self {
        let permits = Arc::new(Semaphore::new(max));
        Self { listener, permits, per_source_max, by_source: Mutex::default() }
    }

    /// Waits until the listener may have one more connection.
    pub(crate) async fn wait_for_permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.permits).acquire_owned().await.ok()
    }

    /// Counts the connection. `None` when its source has as many as it may have; a trusted proxy
    /// may have any number.
    pub(crate) fn open(
        self: &Arc<Self>,
        permit: OwnedSemaphorePermit,
        Peer(peer): Peer,
        is_trusted_proxy: bool,
    ) -> Option<ConnectionPermit> {
        let source = Source(peer).block();
        let mut by_source = self.by_source.lock().unwrap_or_else(PoisonError::into_inner);
        let open = by_source.entry(source).or_default();
        if !is_trusted_proxy && *open >= self.per_source_max {
            return None;
        }
        *open += 1;
        metrics::gauge!(names::HTTP_CONNECTIONS_OPEN, "listener" => self.listener).increment(1);
        Some(ConnectionPermit { connections: Arc::clone(self), source, _permit: permit })
    }

    fn close(&self, source: IpAddr) {
        metrics::gauge!(names::HTTP_CONNECTIONS_OPEN, "listener" => self.listener).decrement(1);
        let mut by_source = self.by_source.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = by_source.get_mut(&source) {
            *open -= 1;
            if *open == 0 {
                by_source.remove(&source);
            }
        }
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.connections.close(self.source);
    }
}
