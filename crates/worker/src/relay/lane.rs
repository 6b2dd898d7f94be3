//! One merchant's events: those that wait for their publish, and those whose confirm is awaited.

use std::collections::VecDeque;

use broker::Message;
use tokio::time::Instant;
use uuid::Uuid;

use super::limits::{
    COMMON_CHANNELS, LAGGING_AFTER, SWEPT_LOW, UNCONFIRMED_MAX, WRITTEN_WAITING_MAX,
};

/// The channel that an event is published on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Path {
    /// One of those for all merchants whose queues confirm in time, by its index.
    Common(usize),
    /// A channel of the merchant's own, on another connection.
    Own,
}

/// Where an event comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// From the writer, right after its commit.
    Written,
    /// From the outbox, because it was due.
    Swept,
    /// From the outbox, where an operator has put it to be sent again.
    Replay,
}

/// An event that waits for its publish.
pub(super) struct Waiting {
    pub(super) message: Message,
    /// From then on the event belongs to the sweep of any worker.
    pub(super) lease_until: Instant,
}

/// An event whose confirm is awaited.
pub(super) struct Sent {
    id: Uuid,
    pub(super) path: Path,
    pub(super) source: Source,
    at: Instant,
    /// Whether its row in the outbox has been told to wait.
    is_postponed: bool,
}

#[derive(Default)]
pub(super) struct Lane {
    written: VecDeque<Waiting>,
    swept: VecDeque<Waiting>,
    replays: VecDeque<Waiting>,
    sent: Vec<Sent>,
    /// How many of `sent` are on each common channel, and on the merchant's own.
    unconfirmed_on_common: [usize; COMMON_CHANNELS],
    unconfirmed_on_own: usize,
    is_lagging: bool,
    /// Whether the next event comes from the sweep. Neither source delays the other.
    is_turn_of_sweep: bool,
}

impl Lane {
    /// Returns `false` when the lane is full: the event stays in the outbox.
    pub(super) fn push(&mut self, source: Source, event: Waiting) -> bool {
        let is_full = source == Source::Written && self.written.len() >= WRITTEN_WAITING_MAX;
        if is_full || self.is_stuck() {
            return false;
        }
        self.queue(source).push_back(event);
        true
    }

    pub(super) fn waiting(&self, source: Source) -> usize {
        match source {
            Source::Written => self.written.len(),
            Source::Swept => self.swept.len(),
            Source::Replay => self.replays.len(),
        }
    }

    pub(super) fn has_waiting(&self) -> bool {
        !(self.written.is_empty() && self.swept.is_empty() && self.replays.is_empty())
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.has_waiting() && self.sent.is_empty()
    }

    pub(super) fn is_lagging(&self) -> bool {
        self.is_lagging
    }

    /// Lagging, with as many unconfirmed events as may be: nothing more of this merchant can be
    /// tried.
    pub(super) fn is_stuck(&self) -> bool {
        self.is_lagging && self.unconfirmed_on_own >= UNCONFIRMED_MAX
    }

    /// Whether a sweep may bring more.
    pub(super) fn takes_swept(&self) -> bool {
        self.swept.len() <= SWEPT_LOW && !self.is_stuck()
    }

    /// The channel for one more event, if it may be published now. `is_trusted` tells whether the
    /// merchant's queues are known to answer to a common channel. Until they are, one event at a
    /// time finds out.
    pub(super) fn path(&self, is_trusted: impl Fn(usize) -> bool) -> Option<Path> {
        if self.is_lagging {
            return (self.unconfirmed_on_own < UNCONFIRMED_MAX).then_some(Path::Own);
        }
        let trusted = (0..COMMON_CHANNELS).filter(|channel| is_trusted(*channel));
        match trusted.min_by_key(|channel| self.unconfirmed_on_common[*channel]) {
            Some(channel) => (self.unconfirmed_on_common[channel] < UNCONFIRMED_MAX)
                .then_some(Path::Common(channel)),
            None => (self.unconfirmed_on_own == 0).then_some(Path::Own),
        }
    }

    pub(super) fn unconfirmed_on_common(&self) -> usize {
        self.unconfirmed_on_common.iter().sum()
    }

    pub(super) fn unconfirmed_on_own(&self) -> usize {
        self.unconfirmed_on_own
    }

    pub(super) fn has_sent(&self, id: Uuid) -> bool {
        self.sent.iter().any(|sent| sent.id == id)
    }

    /// When the oldest unconfirmed event of a path was sent, of those sent from `since` on.
    pub(super) fn oldest_sent(&self, path: Path, since: Instant) -> Option<Instant> {
        let sent = self.sent.iter().filter(|sent| sent.path == path && sent.at >= since);
        sent.map(|sent| sent.at).min()
    }

    /// The next event, alternately from the writer and the sweep; or the next replay. Passes over
    /// those that belong to another worker by now.
    pub(super) fn take(&mut self, replay: bool, now: Instant) -> Option<(Source, Waiting)> {
        loop {
            let source = match (replay, self.written.is_empty(), self.swept.is_empty()) {
                (true, _, _) => Source::Replay,
                (false, false, false) if self.is_turn_of_sweep => Source::Swept,
                (false, false, _) => Source::Written,
                (false, true, _) => Source::Swept,
            };
            let event = self.queue(source).pop_front()?;
            self.is_turn_of_sweep = source == Source::Written;
            if event.lease_until > now {
                return Some((source, event));
            }
        }
    }

    pub(super) fn sent(&mut self, id: Uuid, source: Source, path: Path, now: Instant) {
        *self.unconfirmed(path) += 1;
        self.sent.push(Sent { id, path, source, at: now, is_postponed: false });
    }

    /// Ends the wait for a confirm, whatever its result. `None` when it is not awaited.
    pub(super) fn resolve(&mut self, id: Uuid, now: Instant) -> Option<Sent> {
        let place = self.sent.iter().position(|sent| sent.id == id)?;
        let sent = self.sent.swap_remove(place);
        *self.unconfirmed(sent.path) -= 1;
        self.is_lagging = self.is_lagging && self.is_late(now);
        Some(sent)
    }

    /// Finds out whether confirms lag, and returns the events that have to wait longer from now on.
    pub(super) fn check(&mut self, now: Instant) -> Vec<Uuid> {
        self.is_lagging = self.is_late(now);
        if self.is_stuck() {
            self.clear_waiting();
        }
        let late = self.sent.iter_mut().filter(|sent| sent.is_late(now) && !sent.is_postponed);
        late.map(|sent| {
            sent.is_postponed = true;
            sent.id
        })
        .collect()
    }

    /// What waits is still in the outbox.
    pub(super) fn clear_waiting(&mut self) {
        self.written.clear();
        self.swept.clear();
        self.replays.clear();
    }

    pub(super) fn clear_replays(&mut self) {
        self.replays.clear();
    }

    fn unconfirmed(&mut self, path: Path) -> &mut usize {
        match path {
            Path::Common(channel) => &mut self.unconfirmed_on_common[channel],
            Path::Own => &mut self.unconfirmed_on_own,
        }
    }

    fn is_late(&self, now: Instant) -> bool {
        self.sent.iter().any(|sent| sent.is_late(now))
    }

    fn queue(&mut self, source: Source) -> &mut VecDeque<Waiting> {
        match source {
            Source::Written => &mut self.written,
            Source::Swept => &mut self.swept,
            Source::Replay => &mut self.replays,
        }
    }
}

impl Sent {
    fn is_late(&self, now: Instant) -> bool {
        now.duration_since(self.at) >= LAGGING_AFTER
    }
}
