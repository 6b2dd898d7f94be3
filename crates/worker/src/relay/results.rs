//! Writes down what became of events: confirmed ones leave the outbox, others wait in it. One
//! statement runs at a time, with all events that have come meanwhile.

use std::collections::HashSet;
use std::future::pending;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::limits::CONFIRMED_MAX;
use crate::failpoint;
use crate::store::{Store, StoreError};

/// Events of one statement.
const BATCH_MAX: usize = 1024;
/// From the begin of a statement to the begin of the next: a commit for a few events costs as much as
/// one for many. What a crash leaves in the outbox meanwhile is published twice.
const INTERVAL: Duration = Duration::from_millis(50);

pub(super) struct Results {
    store: Store,
    confirmed: Vec<Uuid>,
    postponed: Vec<Uuid>,
    running: Option<Running>,
    next_at: Instant,
    is_turn_of_postponed: bool,
    /// All of these events.
    ids: HashSet<Uuid>,
}

/// A statement in a task of its own: it must not be cancelled half-way.
struct Running {
    ids: Vec<Uuid>,
    task: JoinHandle<()>,
}

impl Results {
    pub(super) fn new(store: Store) -> Self {
        Self {
            store,
            confirmed: Vec::new(),
            postponed: Vec::new(),
            running: None,
            next_at: Instant::now(),
            is_turn_of_postponed: false,
            ids: HashSet::new(),
        }
    }

    pub(super) fn confirm(&mut self, id: Uuid) {
        if !self.ids.insert(id) {
            self.postponed.retain(|postponed| *postponed != id);
        }
        self.confirmed.push(id);
    }

    pub(super) fn postpone(&mut self, id: Uuid) {
        if self.ids.insert(id) {
            self.postponed.push(id);
        }
    }

    /// Whether the result of this event is not written down yet.
    pub(super) fn contains(&self, id: Uuid) -> bool {
        self.ids.contains(&id)
    }

    pub(super) fn is_full(&self) -> bool {
        self.confirmed.len() >= CONFIRMED_MAX
    }

    pub(super) fn is_empty(&self) -> bool {
        self.confirmed.is_empty() && self.postponed.is_empty() && self.running.is_none()
    }

    /// Starts the next statement unless one runs: a second one could wait for the first one's rows.
    pub(super) fn write(&mut self) {
        let now = Instant::now();
        if self.running.is_some() || self.is_empty() || now < self.next_at {
            return;
        }
        self.next_at = now + INTERVAL;
        let store = self.store.clone();
        let is_turn_of_postponed = self.is_turn_of_postponed || self.confirmed.is_empty();
        self.is_turn_of_postponed = false;
        if is_turn_of_postponed && !self.postponed.is_empty() {
            let ids = first(&mut self.postponed);
            let task = tokio::spawn(postpone(store, ids.clone()));
            self.running = Some(Running { ids, task });
        } else {
            self.is_turn_of_postponed = true;
            let ids = first(&mut self.confirmed);
            let task = tokio::spawn(remove(store, ids.clone()));
            self.running = Some(Running { ids, task });
        }
    }

    /// Returns when a statement has ended, or the next may begin. Loses nothing when dropped.
    pub(super) async fn written(&mut self) {
        let Some(running) = &mut self.running else {
            if self.is_empty() {
                return pending().await;
            }
            return sleep_until(self.next_at).await;
        };
        if let Err(error) = (&mut running.task).await {
            tracing::error!(%error, "a statement about the outbox has panicked");
        }
        for id in &running.ids {
            self.ids.remove(id);
        }
        self.running = None;
    }
}

fn first(ids: &mut Vec<Uuid>) -> Vec<Uuid> {
    let count = ids.len().min(BATCH_MAX);
    ids.drain(..count).collect()
}

async fn remove(store: Store, ids: Vec<Uuid>) {
    let removed = store.remove_confirmed(&ids).await;
    log_failure(removed, "confirmed events stay in the outbox and are published again");
}

async fn postpone(store: Store, ids: Vec<Uuid>) {
    let postponed = store.postpone(&ids).await;
    log_failure(postponed, "events without a confirm are tried again without a longer pause");
    failpoint::reached("relay.postponed");
}

fn log_failure(result: Result<(), StoreError>, consequence: &str) {
    if let Err(error) = result {
        tracing::warn!(%error, "{consequence}");
    }
}
