//! One guard per merchant, in front of every call: a call is made now, after a short wait, or later.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use wechatpay_v2::{ApiKey, Credentials, MchId, Verdict};

use super::Restraint;
use super::breaker::{Breaker, Era, Manner, State};
use super::rate::Rate;
use crate::merchants::{Merchant, Merchants};

/// So long a call waits for its turn, in its caller's place and under its lease: with the call's
/// own 8 s it leaves 20 of the lease's 30 s to the store.
const TURN_WITHIN: Duration = Duration::from_secs(2);
/// Places become free as fast as calls end, which is usually a fraction of a second.
const PLACE_PAUSE: Duration = Duration::from_secs(1);
/// Of a breaker's pause, so that workers that opened together do not probe together.
const CHANCE: f64 = 0.5;

/// The guards of all merchants. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Guards {
    merchants: Merchants,
    manner: Manner,
    /// Only merchants of the file: those that are gone are dropped by [`Guards::rooms`].
    known: Arc<Mutex<HashMap<MchId, Arc<Guard>>>>,
}

#[derive(Debug)]
struct Guard {
    mch_id: MchId,
    inside: Mutex<Inside>,
}

#[derive(Debug)]
struct Inside {
    /// The key that the breaker knows about.
    key: ApiKey,
    breaker: Breaker,
    rate: Rate,
    under_way: u32,
    last_failure: String,
}

/// A call that is not made now. It costs its order no attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Deferred {
    /// How long until it is worth trying again.
    pub(crate) pause: Duration,
    /// What WeChat last said to calls of this merchant, where that is the reason.
    pub(crate) gateway_message: Option<String>,
}

/// How many orders of a merchant are worth looking at now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    None,
    /// One may find out whether calls work again.
    Probe,
    Free,
}

/// A call under way.
#[derive(Debug)]
pub(super) struct Pass {
    guard: Arc<Guard>,
    era: Era,
    ended: bool,
}

impl Deferred {
    /// Too many orders of this merchant are under way.
    pub(crate) fn for_a_place(mch_id: &MchId) -> Self {
        Self::new(mch_id, "place", PLACE_PAUSE, None)
    }

    fn new(mch_id: &MchId, reason: &'static str, pause: Duration, said: Option<String>) -> Self {
        let mch_id = mch_id.to_string();
        metrics::counter!("wxpay_gateway_deferred_total", "mch_id" => mch_id, "reason" => reason)
            .increment(1);
        Self { pause, gateway_message: said }
    }
}

impl Guards {
    pub(super) fn new(merchants: Merchants, restraint: &Restraint) -> Self {
        let manner = Manner {
            failures_max: restraint.failures_max,
            pause_first: restraint.pause_first,
            pause_max: restraint.pause_max,
            chance: CHANCE,
        };
        Self { merchants, manner, known: Arc::default() }
    }

    /// Waits for the call's turn, if that is near; the call is then to be made at once.
    pub(super) async fn admit(&self, by: &Credentials) -> Result<Pass, Deferred> {
        let current = self.merchants.get(&by.mch_id);
        let key = current.as_ref().map_or(&by.key, |merchant| &merchant.key);
        let per_second = current
            .as_ref()
            .map_or(Merchant::REQUESTS_PER_SECOND, |merchant| merchant.requests_per_second);
        let guard = self.of(&by.mch_id, key);
        let wait = guard.turn(per_second)?;
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        guard.enter()
    }

    /// Which merchants are worth a look. Also shows each guard in the metrics, and forgets those
    /// whose merchants are gone.
    pub(super) fn rooms(&self) -> Vec<(MchId, Room)> {
        let merchants = self.merchants.all();
        self.known().retain(|mch_id, guard| {
            let stays = merchants.contains_key(mch_id);
            if !stays {
                guard.inside().breaker.close();
                guard.show();
            }
            stays
        });
        let rooms = merchants.iter().map(|(mch_id, merchant)| {
            let guard = self.of(mch_id, &merchant.key);
            guard.show();
            (mch_id.clone(), guard.room())
        });
        rooms.collect()
    }

    /// The guard of a merchant. What it has learned with another key is forgotten.
    fn of(&self, mch_id: &MchId, key: &ApiKey) -> Arc<Guard> {
        let mut known = self.known();
        let guard = known.entry(mch_id.clone()).or_insert_with(|| {
            let inside = Inside {
                key: key.clone(),
                breaker: Breaker::new(self.manner),
                rate: Rate::default(),
                under_way: 0,
                last_failure: String::new(),
            };
            Arc::new(Guard { mch_id: mch_id.clone(), inside: Mutex::new(inside) })
        });
        let mut inside = guard.inside();
        if inside.key != *key {
            inside.key = key.clone();
            inside.breaker.close();
        }
        drop(inside);
        Arc::clone(guard)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<MchId, Arc<Guard>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guard {
    /// How long to wait for the turn. Whoever meets an open breaker takes nobody's turn.
    fn turn(&self, per_second: u32) -> Result<Duration, Deferred> {
        let (mut inside, now) = (self.inside(), Instant::now());
        if let Some(pause) = inside.breaker.shut(now) {
            return Err(self.shut(&inside, pause));
        }
        let turn = inside.rate.take(per_second, TURN_WITHIN, now);
        turn.map_err(|pause| Deferred::new(&self.mch_id, "rate", pause, None))
    }

    fn enter(self: Arc<Self>) -> Result<Pass, Deferred> {
        let mut inside = self.inside();
        let era = match inside.breaker.admit(Instant::now()) {
            Ok(era) => era,
            Err(pause) => return Err(self.shut(&inside, pause)),
        };
        inside.under_way += 1;
        drop(inside);
        self.show();
        Ok(Pass { guard: self, era, ended: false })
    }

    fn shut(&self, inside: &Inside, pause: Duration) -> Deferred {
        let said = format!("calls of this merchant fail at present: {}", inside.last_failure);
        Deferred::new(&self.mch_id, "breaker", pause, Some(said))
    }

    fn room(&self) -> Room {
        let inside = self.inside();
        match (inside.breaker.state(), inside.breaker.shut(Instant::now())) {
            (_, Some(_)) => Room::None,
            (State::Closed { .. }, None) => Room::Free,
            (State::Open { .. } | State::HalfOpen, None) => Room::Probe,
        }
    }

    fn show(&self) {
        let inside = self.inside();
        let state = match inside.breaker.state() {
            State::Closed { .. } => 0.0,
            State::HalfOpen => 1.0,
            State::Open { .. } => 2.0,
        };
        let mch_id = || self.mch_id.to_string();
        metrics::gauge!("wxpay_gateway_breaker_state", "mch_id" => mch_id()).set(state);
        metrics::gauge!("wxpay_gateway_calls_under_way", "mch_id" => mch_id())
            .set(f64::from(inside.under_way));
    }

    /// Has the breaker learn, and says what that changed.
    fn learn(&self, how: impl FnOnce(&mut Inside)) {
        let mut inside = self.inside();
        let before = inside.breaker.state();
        how(&mut inside);
        let mch_id = &self.mch_id;
        match (before, inside.breaker.state()) {
            (State::Closed { .. }, State::Open { .. }) => {
                let message = &inside.last_failure;
                tracing::warn!(%mch_id, message, "every call of this merchant fails: they pause");
            }
            (State::HalfOpen, State::Closed { .. }) => {
                tracing::info!(%mch_id, "calls of this merchant work again");
            }
            _ => {}
        }
        drop(inside);
        self.show();
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass {
    /// The call has ended.
    pub(super) fn end<T>(mut self, verdict: &Verdict<T>) {
        self.ended = true;
        let failure = match verdict {
            Verdict::Yes(_) => None,
            Verdict::No(no) if no.meets_every_call() => {
                Some(format!("{}: {}", no.err_code, no.err_code_des))
            }
            Verdict::No(_) => None,
            Verdict::Unknown(why) => Some(why.to_string()),
        };
        let era = self.era;
        self.guard.learn(|inside| match failure {
            None => inside.breaker.worked(era),
            Some(failure) => {
                inside.last_failure = failure;
                inside.breaker.failed(era, Instant::now());
            }
        });
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let (era, ended) = (self.era, self.ended);
        self.guard.learn(|inside| {
            inside.under_way = inside.under_way.saturating_sub(1);
            if !ended {
                inside.breaker.dropped(era, Instant::now());
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use wechatpay_v2::{AppId, SignType, Unknown};

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn merchant(mch_id: &str, key: &str, requests_per_second: u32) -> Merchant {
        Merchant {
            mch_id: MchId::parse(mch_id).unwrap(),
            appids: vec![AppId::parse("wx8888888888888888").unwrap()],
            sign_type: SignType::Md5,
            notify_base_url: "https://pay.example.com".to_owned(),
            key: ApiKey::parse(&key.repeat(32)).unwrap(),
            previous_key: None,
            requests_per_second,
        }
    }

    /// Two failures open a breaker for as long as a test lasts.
    fn guards(list: Vec<Merchant>) -> Guards {
        let restraint =
            Restraint { failures_max: 2, pause_first: DAY, pause_max: DAY, ..Restraint::default() };
        Guards::new(Merchants::of(list).unwrap(), &restraint)
    }

    fn failure() -> Verdict<()> {
        Verdict::Unknown(Unknown::Transport("no answer in time".to_owned()))
    }

    fn rooms(guards: &Guards) -> Vec<(String, Room)> {
        let mut rooms: Vec<_> =
            guards.rooms().into_iter().map(|(mch_id, room)| (mch_id.to_string(), room)).collect();
        rooms.sort_by(|one, other| one.0.cmp(&other.0));
        rooms
    }

    #[tokio::test]
    async fn a_merchant_whose_calls_fail_is_deferred_and_no_other() {
        let (one, two) = (merchant("1", "a", 100), merchant("2", "b", 100));
        let guards = guards(vec![one.clone(), two.clone()]);
        let by = one.credentials(SignType::Md5);
        for _ in 0..2 {
            guards.admit(&by).await.unwrap().end(&failure());
        }
        let deferred = guards.admit(&by).await.unwrap_err();
        let said = deferred.gateway_message.as_deref();
        assert_eq!(said, Some("calls of this merchant fail at present: no answer in time"));
        assert!(deferred.pause >= DAY / 3, "{deferred:?}");
        guards.admit(&two.credentials(SignType::Md5)).await.unwrap().end(&Verdict::Yes(()));
        let expected = [("1".to_owned(), Room::None), ("2".to_owned(), Room::Free)];
        assert_eq!(rooms(&guards), expected);
    }

    #[tokio::test]
    async fn another_key_is_tried_at_once_and_a_merchant_that_is_gone_is_forgotten() {
        let (one, two) = (merchant("1", "a", 100), merchant("2", "b", 100));
        let guards = guards(vec![one.clone(), two.clone()]);
        for merchant in [&one, &two] {
            for _ in 0..2 {
                let by = merchant.credentials(SignType::Md5);
                guards.admit(&by).await.unwrap().end(&failure());
            }
        }
        let mended = merchant("1", "c", 100);
        guards.merchants.replace(&Merchants::of(vec![mended.clone()]).unwrap());
        // Also for whoever still holds the key of before.
        guards.admit(&one.credentials(SignType::Md5)).await.unwrap().end(&Verdict::Yes(()));
        guards.admit(&mended.credentials(SignType::Md5)).await.unwrap().end(&Verdict::Yes(()));
        assert_eq!(rooms(&guards), [("1".to_owned(), Room::Free)]);
        assert_eq!(guards.known().len(), 1);
    }

    #[tokio::test]
    async fn a_probe_that_is_dropped_is_no_probe_for_ever() {
        let one = merchant("1", "a", 100);
        let restraint = Restraint {
            failures_max: 1,
            pause_first: Duration::ZERO,
            pause_max: Duration::ZERO,
            ..Restraint::default()
        };
        let guards = Guards::new(Merchants::of(vec![one.clone()]).unwrap(), &restraint);
        let by = one.credentials(SignType::Md5);
        guards.admit(&by).await.unwrap().end(&failure());
        assert_eq!(rooms(&guards), [("1".to_owned(), Room::Probe)]);
        let probe = guards.admit(&by).await.unwrap();
        assert_eq!(rooms(&guards), [("1".to_owned(), Room::None)]);
        assert!(guards.admit(&by).await.is_err(), "a second probe");
        drop(probe);
        guards.admit(&by).await.unwrap().end(&Verdict::Yes(()));
        assert_eq!(rooms(&guards), [("1".to_owned(), Room::Free)]);
    }

    #[test]
    fn a_short_wait_is_waited_and_a_long_one_deferred() {
        let one = merchant("1", "a", 1);
        let guards = guards(vec![one.clone()]);
        let guard = guards.of(&one.mch_id, &one.key);
        let turns: Vec<_> = (0..4).map(|_| guard.turn(1)).collect();
        assert_eq!(turns[0], Ok(Duration::ZERO));
        let later = |turn: &Result<Duration, Deferred>| turn.as_ref().is_ok_and(|it| !it.is_zero());
        assert!(later(&turns[1]) && later(&turns[2]), "{turns:?}");
        let deferred = turns[3].as_ref().unwrap_err();
        assert!(deferred.pause > TURN_WITHIN, "{deferred:?}");
        assert_eq!(deferred.gateway_message, None);
    }
}
