//! The order in which calls begin: one lane for each merchant, a turn for each lane.
//!
//! A call that cannot begin now waits in its merchant's lane, for a bounded time: until the number
//! of calls in progress, the merchant's share of it and its rate allow the call. Waiting calls of
//! several merchants take turns. Within a lane creates come first, and every eighth call is one of
//! each of the others, if one waits.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use wechatpay_v2::{CallOutcome, Credentials, MchId};

use super::merchant_limiter::{CallPermit, Deferred, MerchantLimiter, NotNow};
use super::merchant_limiters::MerchantLimiters;

#[cfg(test)]
mod tests;

/// With the call (8 s) and its settlement (18 s) it fits into the lease of 30 s.
const CREATE_WAIT_MAX: Duration = Duration::from_secs(3);
/// A lane has places for what its rate lets through in this time: the last of them does not wait in
/// vain when the rate falls a little.
const LANE_SECONDS: usize = 2;
/// Of the other calls, whose orders are checked again anyway.
const OTHER_WAIT_MAX: Duration = Duration::from_secs(2);
/// Creates that wait in one lane, whatever its rate: each is a few kilobytes.
const LANE_MAX: usize = 4096;
/// Creates that wait in all lanes.
const LANES_MAX: usize = 16_384;
/// Of this many calls one is a close, one a check on demand and one a check, if some wait.
const FLOOR_EVERY: u32 = 8;

/// What a call is for, the most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Priority {
    Create,
    Close,
    /// A check because someone asks about the order.
    OnDemand,
    Check,
}

const PRIORITIES: usize = 4;

/// Begins the calls of all merchants. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Lanes(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limiters: MerchantLimiters,
    /// Calls in progress at once.
    calls_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    lanes: HashMap<MchId, Lane>,
    /// Merchants with waiting calls; the first has the next turn.
    turns: VecDeque<MchId>,
    running: usize,
    /// Creates that are admitted and have not begun.
    admitted: usize,
    /// When a task looks again, because a rate allows a call then.
    wakes_at: Option<Instant>,
    is_closed: bool,
}

#[derive(Debug, Default)]
struct Lane {
    waiting: [VecDeque<Waiting>; PRIORITIES],
    running: usize,
    admitted: usize,
    begun: u32,
}

#[derive(Debug)]
struct Waiting {
    limiter: Arc<MerchantLimiter>,
    turn: oneshot::Sender<Result<CallPermit, Deferred>>,
}

/// The place of a create in its merchant's lane. It is given back when the call begins, or when
/// this is dropped.
#[derive(Debug)]
pub(crate) struct Admission {
    lanes: Lanes,
    mch_id: MchId,
}

/// A call that has begun. Dropped without [`Turn::finish`], the call has no outcome.
#[derive(Debug)]
pub(super) struct Turn {
    permit: Option<CallPermit>,
    lanes: Lanes,
    mch_id: MchId,
}

impl Lanes {
    pub(super) fn new(limiters: MerchantLimiters, calls_max: usize) -> Self {
        Self(Arc::new(Inner { limiters, calls_max, state: Mutex::default() }))
    }

    /// Waits for the turn of a call, at most as long as its priority allows.
    pub(super) async fn turn(
        &self,
        credentials: &Credentials,
        priority: Priority,
        admission: Option<Admission>,
    ) -> Result<Turn, Deferred> {
        let mch_id = &credentials.mch_id;
        let limiter = self.0.limiters.current(credentials);
        limiter.check_breaker(Instant::now())?;
        let (turn, mut granted) = oneshot::channel();
        let waiting = Waiting { limiter: Arc::clone(&limiter), turn };
        {
            let mut state = self.state();
            if state.is_closed {
                return Err(Deferred::stopping());
            }
            let lane = state.lanes.entry(mch_id.clone()).or_default();
            lane.waiting[priority as usize].push_back(waiting);
            if !state.turns.contains(mch_id) {
                state.turns.push_back(mch_id.clone());
            }
            self.begin_calls(&mut state);
        }
        let wait_max = match priority {
            Priority::Create => CREATE_WAIT_MAX,
            Priority::Close | Priority::OnDemand | Priority::Check => OTHER_WAIT_MAX,
        };
        let granted = match tokio::time::timeout(wait_max, &mut granted).await {
            Ok(Ok(granted)) => granted,
            Ok(Err(_)) => Err(Deferred::stopping()),
            Err(_) => {
                // Closed first, so that a turn is either here or never given.
                granted.close();
                granted.try_recv().unwrap_or_else(|_| Err(Deferred::no_turn(mch_id, &limiter)))
            }
        };
        drop(admission);
        let permit = Some(granted?);
        Ok(Turn { permit, lanes: self.clone(), mch_id: mch_id.clone() })
    }

    /// A place in the lane for a new order. `Ok(None)`: the lane is full.
    pub(super) fn admit(&self, mch_id: &MchId) -> Result<Option<Admission>, Deferred> {
        let Some(limiter) = self.0.limiters.get(mch_id) else { return Ok(None) };
        limiter.check_breaker(Instant::now())?;
        let capacity = capacity(limiter.per_second());
        let mut state = self.state();
        let waiting = state.lanes.get(mch_id).map_or(0, |lane| lane.admitted);
        if state.is_closed || waiting >= capacity || state.admitted >= LANES_MAX {
            return Ok(None);
        }
        Ok(Some(self.admit_to(&mut state, mch_id)))
    }

    /// Places in the lane for orders that were claimed for them.
    pub(super) fn admit_claimed(&self, mch_id: &MchId) -> Admission {
        self.admit_to(&mut self.state(), mch_id)
    }

    fn admit_to(&self, state: &mut State, mch_id: &MchId) -> Admission {
        state.admitted += 1;
        state.lanes.entry(mch_id.clone()).or_default().admitted += 1;
        Admission { lanes: self.clone(), mch_id: mch_id.clone() }
    }

    /// How many more creates of each merchant its lane takes.
    pub(super) fn available_places(&self) -> Vec<(MchId, usize)> {
        let limiters = self.0.limiters.all();
        let state = self.state();
        let left = LANES_MAX.saturating_sub(state.admitted);
        let places = limiters.into_iter().map(|(mch_id, limiter)| {
            let waiting = state.lanes.get(&mch_id).map_or(0, |lane| lane.admitted);
            let capacity = limiter.available(CREATE_WAIT_MAX).min(capacity(limiter.per_second()));
            (mch_id, capacity.saturating_sub(waiting).min(left))
        });
        places.collect()
    }

    /// For how many orders of each merchant a check could begin now. While creates wait, checks get
    /// no more than what the lane grants them anyway.
    pub(super) fn available_checks(&self) -> Vec<(MchId, usize)> {
        let limiters = self.0.limiters.all();
        let state = self.state();
        let checks = limiters.into_iter().map(|(mch_id, limiter)| {
            let available = limiter.available(OTHER_WAIT_MAX);
            let is_busy = state.lanes.get(&mch_id).is_some_and(|lane| lane.admitted > 0);
            let floor = usize::try_from(limiter.per_second() / FLOOR_EVERY).unwrap_or(1).max(1);
            (mch_id, if is_busy { available.min(floor) } else { available })
        });
        checks.collect()
    }

    pub(super) fn set_workers(&self, workers: u32) {
        self.0.limiters.set_workers(workers);
    }

    pub(super) fn rates(&self) -> Vec<(MchId, u32)> {
        let limiters = self.0.limiters.all().into_iter();
        limiters.map(|(mch_id, limiter)| (mch_id, limiter.per_second())).collect()
    }

    /// Calls that wait are deferred, and no further one begins.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.is_closed = true;
        state.turns.clear();
        for lane in state.lanes.values_mut() {
            for waiting in lane.waiting.iter_mut().flat_map(std::mem::take) {
                let _ = waiting.turn.send(Err(Deferred::stopping()));
            }
        }
    }

    /// Begins as many waiting calls as may begin now, one of each merchant in turn.
    fn begin_calls(&self, state: &mut State) {
        let now = Instant::now();
        let share = self.0.limiters.share(self.0.calls_max);
        let mut next_token: Option<Duration> = None;
        let mut without_turn = 0;
        while without_turn < state.turns.len() && state.running < self.0.calls_max {
            let Some(mch_id) = state.turns.pop_front() else { break };
            let Some(lane) = state.lanes.get_mut(&mch_id) else { continue };
            let Some(waiting) = lane.next() else { continue };
            if lane.running >= share {
                lane.put_back(waiting);
                without_turn += 1;
                state.turns.push_back(mch_id);
                continue;
            }
            let (priority, waiting) = waiting;
            match waiting.limiter.begin_call(now) {
                Ok(permit) => {
                    lane.begun = lane.begun.wrapping_add(1);
                    if waiting.turn.send(Ok(permit)).is_ok() {
                        lane.running += 1;
                        state.running += 1;
                    }
                    without_turn = 0;
                }
                Err(NotNow::Rate(wait)) => {
                    next_token = Some(next_token.map_or(wait, |next| next.min(wait)));
                    lane.put_back((priority, waiting));
                    without_turn += 1;
                }
                Err(NotNow::Breaker(deferred)) => {
                    for waiting in lane.waiting.iter_mut().flat_map(std::mem::take) {
                        // Asked each time, so that each deferred call is counted.
                        let again = waiting.limiter.check_breaker(now).err();
                        let _ = waiting.turn.send(Err(again.unwrap_or_else(|| deferred.clone())));
                    }
                    let _ = waiting.turn.send(Err(deferred));
                }
            }
            state.turns.push_back(mch_id);
        }
        if let Some(wait) = next_token {
            self.wake_in(state, now, wait);
        }
    }

    fn wake_in(&self, state: &mut State, now: Instant, wait: Duration) {
        let at = now + wait;
        if state.wakes_at.is_some_and(|wakes_at| wakes_at <= at) {
            return;
        }
        state.wakes_at = Some(at);
        let lanes = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep_until(at.into()).await;
            let mut state = lanes.state();
            if state.wakes_at == Some(at) {
                state.wakes_at = None;
            }
            lanes.begin_calls(&mut state);
        });
    }

    fn end(&self, mch_id: &MchId) {
        let mut state = self.state();
        state.running = state.running.saturating_sub(1);
        if let Some(lane) = state.lanes.get_mut(mch_id) {
            lane.running = lane.running.saturating_sub(1);
            if lane.is_empty() {
                state.lanes.remove(mch_id);
            }
        }
        self.begin_calls(&mut state);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lane {
    /// The call that begins next. Calls whose callers are gone are left out.
    fn next(&mut self) -> Option<(Priority, Waiting)> {
        let first = match self.begun % FLOOR_EVERY {
            3 => Priority::Close,
            5 => Priority::OnDemand,
            7 => Priority::Check,
            _ => Priority::Create,
        };
        let by_urgency = [Priority::Create, Priority::Close, Priority::OnDemand, Priority::Check];
        for priority in std::iter::once(first).chain(by_urgency) {
            while let Some(waiting) = self.waiting[priority as usize].pop_front() {
                if !waiting.turn.is_closed() {
                    return Some((priority, waiting));
                }
            }
        }
        None
    }

    fn put_back(&mut self, (priority, waiting): (Priority, Waiting)) {
        self.waiting[priority as usize].push_front(waiting);
    }

    fn is_empty(&self) -> bool {
        self.running == 0 && self.admitted == 0 && self.waiting.iter().all(VecDeque::is_empty)
    }
}

/// How many creates may wait in a lane.
fn capacity(per_second: u32) -> usize {
    let per_second = usize::try_from(per_second).unwrap_or(LANE_MAX);
    per_second.saturating_mul(LANE_SECONDS).clamp(1, LANE_MAX)
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut state = self.lanes.state();
        state.admitted = state.admitted.saturating_sub(1);
        if let Some(lane) = state.lanes.get_mut(&self.mch_id) {
            lane.admitted = lane.admitted.saturating_sub(1);
            if lane.is_empty() {
                state.lanes.remove(&self.mch_id);
            }
        }
    }
}

impl Turn {
    pub(super) fn finish<T>(mut self, outcome: &CallOutcome<T>) {
        if let Some(permit) = self.permit.take() {
            permit.finish(outcome);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // Its outcome first: an open breaker lets no further call begin.
        self.permit = None;
        self.lanes.end(&self.mch_id);
    }
}
