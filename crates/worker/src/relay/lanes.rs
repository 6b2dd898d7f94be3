//! Which event is published next, and on which channel. Pure: no I/O and no clock.

use std::collections::{HashMap, VecDeque};

use tokio::time::Instant;
use uuid::Uuid;
use wechatpay_v2::MchId;

use super::lane::{Lane, Path, Source, Waiting};
use super::limits::{
    COMMON_CHANNELS, PROBE_HOLDS, REPLAYS_LOW, REPLAYS_UNCONFIRMED_MAX, SWEPT_LOW,
    SWEPT_LOW_OF_ALL, WINDOW, WRITTEN_WAITING_MAX_OF_ALL,
};

/// The events of all merchants. Merchants take turns, and replays come after all other events.
#[derive(Default)]
pub(super) struct Lanes {
    lanes: HashMap<MchId, Lane>,
    /// The merchants whose queues answer.
    trusted: HashMap<MchId, Trust>,
    /// The merchants with waiting events, the next one first.
    turns: VecDeque<MchId>,
    written_waiting: usize,
    swept_waiting: usize,
    replays_waiting: usize,
    /// Unconfirmed events on the common channels, without those of lagging merchants.
    in_window: usize,
    replays_unconfirmed: usize,
    is_sweep_wanted: bool,
    /// Since the last check.
    ceased_to_lag: Vec<MchId>,
}

/// How it is known that a merchant's queues answer. The first message of a channel for a quorum
/// queue makes the broker's end of the channel wait for the queue, with everything behind it. So
/// that message goes out on the merchant's own channel.
#[derive(Clone, Copy)]
struct Trust {
    /// When they last confirmed an event, on whichever channel.
    confirmed_at: Instant,
    /// The common channels on which they have confirmed an event.
    channels: [bool; COMMON_CHANNELS],
}

/// An event to publish now.
pub(super) struct Next {
    pub(super) mch_id: MchId,
    pub(super) path: Path,
    pub(super) event: Waiting,
}

/// What [`Lanes::check`] has found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Checked {
    /// Events without a confirm in time.
    pub(super) late: Vec<Uuid>,
    pub(super) began_to_lag: Vec<MchId>,
    pub(super) ceased_to_lag: Vec<MchId>,
}

/// What a sweep may bring.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SweepCapacity {
    pub(super) swept: bool,
    pub(super) replays: bool,
    /// Merchants with enough of both.
    pub(super) full: Vec<MchId>,
}

impl Lanes {
    /// Takes an event unless there is no space for it: then it stays in the outbox.
    pub(super) fn push(&mut self, mch_id: &MchId, source: Source, event: Waiting) {
        if source == Source::Written && self.written_waiting >= WRITTEN_WAITING_MAX_OF_ALL {
            return;
        }
        let lane = self.lanes.entry(mch_id.clone()).or_default();
        let had_waiting = lane.has_waiting();
        if !lane.push(source, event) {
            return;
        }
        if !had_waiting {
            self.turns.push_back(mch_id.clone());
        }
        *self.waiting(source) += 1;
    }

    /// The next event whose merchant may have one more unconfirmed.
    pub(super) fn next(&mut self, now: Instant) -> Option<Next> {
        self.next_of(false, now).or_else(|| {
            let has_capacity = self.replays_unconfirmed < REPLAYS_UNCONFIRMED_MAX;
            if has_capacity && self.replays_waiting > 0 { self.next_of(true, now) } else { None }
        })
    }

    fn next_of(&mut self, replay: bool, now: Instant) -> Option<Next> {
        for _ in 0..self.turns.len() {
            let mch_id = self.turns.pop_front()?;
            let lane = self.lanes.get_mut(&mch_id)?;
            let trust = self.trusted.get(&mch_id).copied();
            let path = lane.path(|channel| trust.is_some_and(|trust| trust.holds(channel, now)));
            let path = path.filter(|path| *path == Path::Own || self.in_window < WINDOW);
            let before = Counts::of(lane);
            let taken = path.and_then(|path| Some((path, lane.take(replay, now)?)));
            if let Some((path, (source, Waiting { message, .. }))) = &taken {
                lane.sent(message.message_id, *source, *path, now);
                self.in_window += usize::from(*path != Path::Own);
                self.replays_unconfirmed += usize::from(*source == Source::Replay);
            }
            let after = Counts::of(lane);
            let is_low = before.swept > SWEPT_LOW && after.swept <= SWEPT_LOW;
            self.is_sweep_wanted |= is_low;
            if lane.has_waiting() {
                self.turns.push_back(mch_id.clone());
            }
            self.count_difference(before, after);
            if let Some((path, (_, event))) = taken {
                return Some(Next { mch_id, path, event });
            }
        }
        None
    }

    /// Ends the wait for a confirm, which has come or not.
    pub(super) fn resolve(&mut self, mch_id: &MchId, id: Uuid, is_confirmed: bool, now: Instant) {
        let Some(lane) = self.lanes.get_mut(mch_id) else { return };
        let was_lagging = lane.is_lagging();
        let in_window = window_share(lane);
        let Some(sent) = lane.resolve(id, now) else { return };
        self.in_window = self.in_window - in_window + window_share(lane);
        self.replays_unconfirmed -= usize::from(sent.source == Source::Replay);
        // Its events in the outbox need not wait for the next sweep.
        self.is_sweep_wanted |= was_lagging;
        if was_lagging && !lane.is_lagging() {
            self.ceased_to_lag.push(mch_id.clone());
        }
        if lane.is_empty() {
            self.lanes.remove(mch_id);
        }
        if is_confirmed {
            let unknown = Trust { confirmed_at: now, channels: [false; COMMON_CHANNELS] };
            let trust = self.trusted.entry(mch_id.clone()).or_insert(unknown);
            trust.confirmed_at = now;
            if let Path::Common(channel) = sent.path {
                trust.channels[channel] = true;
            }
        }
    }

    /// After this every merchant's queues are unknown again: a common channel is a new one.
    pub(super) fn forget_trust(&mut self) {
        self.trusted.clear();
    }

    /// Whether the merchant's own channel is in use.
    pub(super) fn uses_own_channel(&self, mch_id: &MchId) -> bool {
        let lane = self.lanes.get(mch_id);
        lane.is_some_and(|lane| lane.is_lagging() || lane.unconfirmed_on_own() > 0)
    }

    /// Whether the event is published and its confirm awaited.
    pub(super) fn is_sent(&self, mch_id: &MchId, id: Uuid) -> bool {
        self.lanes.get(mch_id).is_some_and(|lane| lane.has_sent(id))
    }

    /// Finds the merchants whose confirms lag.
    pub(super) fn check(&mut self, now: Instant) -> Checked {
        let ceased_to_lag = std::mem::take(&mut self.ceased_to_lag);
        let mut checked = Checked { ceased_to_lag, ..Checked::default() };
        let mut emptied = false;
        for (mch_id, lane) in &mut self.lanes {
            let was_lagging = lane.is_lagging();
            let before = Counts::of(lane);
            let in_window = window_share(lane);
            checked.late.extend(lane.check(now));
            self.in_window = self.in_window - in_window + window_share(lane);
            let after = Counts::of(lane);
            self.written_waiting -= before.written - after.written;
            self.swept_waiting -= before.swept - after.swept;
            self.replays_waiting -= before.replays - after.replays;
            emptied |= before.any() && !after.any();
            if lane.is_lagging() && !was_lagging {
                checked.began_to_lag.push(mch_id.clone());
            }
        }
        if emptied {
            self.turns.retain(|mch_id| self.lanes.get(mch_id).is_some_and(Lane::has_waiting));
            self.lanes.retain(|_, lane| !lane.is_empty());
        }
        checked
    }

    pub(super) fn sweep_capacity(&self) -> SweepCapacity {
        let full = self.lanes.iter().filter(|(_, lane)| !lane.takes_swept());
        SweepCapacity {
            swept: self.swept_waiting <= SWEPT_LOW_OF_ALL,
            replays: self.replays_waiting <= REPLAYS_LOW,
            full: full.map(|(mch_id, _)| mch_id.clone()).collect(),
        }
    }

    /// Whether a sweep would find space that it did not find before. Says so once.
    pub(super) fn take_sweep_wanted(&mut self) -> bool {
        std::mem::take(&mut self.is_sweep_wanted)
    }

    /// When the oldest unconfirmed event of a common channel was sent, of those sent from `since`
    /// on.
    pub(super) fn oldest_on_common(&self, channel: usize, since: Instant) -> Option<Instant> {
        let lanes = self.lanes.values();
        lanes.filter_map(|lane| lane.oldest_sent(Path::Common(channel), since)).min()
    }

    /// The same for a merchant's own channel.
    pub(super) fn oldest_on_own(&self, mch_id: &MchId, since: Instant) -> Option<Instant> {
        self.lanes.get(mch_id)?.oldest_sent(Path::Own, since)
    }

    /// Gives the replays back to the outbox.
    pub(super) fn clear_replays(&mut self) {
        self.lanes.values_mut().for_each(Lane::clear_replays);
        self.replays_waiting = 0;
        self.turns.retain(|mch_id| self.lanes.get(mch_id).is_some_and(Lane::has_waiting));
    }

    /// Whether nothing waits and nothing is unconfirmed but events of lagging merchants.
    pub(super) fn is_drained(&self) -> bool {
        self.lanes.values().all(|lane| lane.is_lagging() || lane.is_empty())
    }

    fn count_difference(&mut self, before: Counts, after: Counts) {
        self.written_waiting -= before.written - after.written;
        let swept_before = self.swept_waiting;
        self.swept_waiting -= before.swept - after.swept;
        let replays_before = self.replays_waiting;
        self.replays_waiting -= before.replays - after.replays;
        self.is_sweep_wanted |= (swept_before > SWEPT_LOW_OF_ALL
            && self.swept_waiting <= SWEPT_LOW_OF_ALL)
            || (replays_before > REPLAYS_LOW && self.replays_waiting <= REPLAYS_LOW);
    }

    fn waiting(&mut self, source: Source) -> &mut usize {
        match source {
            Source::Written => &mut self.written_waiting,
            Source::Swept => &mut self.swept_waiting,
            Source::Replay => &mut self.replays_waiting,
        }
    }
}

impl Trust {
    fn holds(self, channel: usize, now: Instant) -> bool {
        self.channels[channel] || now.duration_since(self.confirmed_at) < PROBE_HOLDS
    }
}

/// The waiting events of a lane.
#[derive(Clone, Copy)]
struct Counts {
    written: usize,
    swept: usize,
    replays: usize,
}

impl Counts {
    fn of(lane: &Lane) -> Self {
        Self {
            written: lane.waiting(Source::Written),
            swept: lane.waiting(Source::Swept),
            replays: lane.waiting(Source::Replay),
        }
    }

    fn any(self) -> bool {
        self.written + self.swept + self.replays > 0
    }
}

/// What a lane has in the window. A lagging one has nothing there: it takes no other merchant's
/// capacity.
fn window_share(lane: &Lane) -> usize {
    if lane.is_lagging() { 0 } else { lane.unconfirmed_on_common() }
}
