//! The open connections of a listener.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::source::{Peer, Source};

/// Places for connections, of which no source may take all.
pub(crate) struct Connections {
    listener: &'static str,
    places: Arc<Semaphore>,
    per_source_max: usize,
    /// No more entries than places.
    by_source: Mutex<HashMap<IpAddr, usize>>,
}

/// A place, given back when it is dropped.
pub(crate) struct Place {
    connections: Arc<Connections>,
    source: IpAddr,
    _permit: OwnedSemaphorePermit,
}

impl Connections {
    pub(crate) fn new(listener: &'static str, max: usize, per_source_max: usize) -> Self {
        let places = Arc::new(Semaphore::new(max));
        Self { listener, places, per_source_max, by_source: Mutex::default() }
    }

    /// Waits until there is room for one more.
    pub(crate) async fn room(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).acquire_owned().await.ok()
    }

    /// The place of a connection; `None` when its source has as many as it may have. `is_counted`
    /// says whether that bound holds for this peer.
    pub(crate) fn take(
        self: &Arc<Self>,
        permit: OwnedSemaphorePermit,
        Peer(peer): Peer,
        is_counted: bool,
    ) -> Option<Place> {
        let source = Source(peer).block();
        let mut by_source = self.by_source.lock().unwrap_or_else(PoisonError::into_inner);
        let open = by_source.entry(source).or_default();
        if is_counted && *open >= self.per_source_max {
            return None;
        }
        *open += 1;
        metrics::gauge!(service::metrics::names::HTTP_CONNECTIONS_OPEN, "listener" => self.listener).increment(1);
        Some(Place { connections: Arc::clone(self), source, _permit: permit })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Connections { listener, by_source, .. } = &*self.connections;
        metrics::gauge!(service::metrics::names::HTTP_CONNECTIONS_OPEN, "listener" => *listener)
            .decrement(1);
        let mut by_source = by_source.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = by_source.get_mut(&self.source) {
            *open -= 1;
            if *open == 0 {
                by_source.remove(&self.source);
            }
        }
    }
}
