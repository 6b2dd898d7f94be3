//! A call is made now, after a short wait, or later: one guard per merchant says which.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wechatpay_v2::{ApiKey, Credentials, MchId};

use super::Restraint;
use super::breaker::Manner;
use super::guard::{Deferred, Guard, Pass};
use crate::merchants::{Merchant, Merchants};

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

    /// How many orders of each merchant are worth looking at now. Also shows each guard in the
    /// metrics, and forgets those whose merchants are gone.
    pub(super) fn rooms(&self) -> Vec<(MchId, usize)> {
        let merchants = self.merchants.all();
        self.known().retain(|mch_id, guard| {
            let stays = merchants.contains_key(mch_id);
            if !stays {
                guard.retire();
            }
            stays
        });
        let rooms = merchants.iter().map(|(mch_id, merchant)| {
            let guard = self.of(mch_id, &merchant.key);
            guard.show();
            (mch_id.clone(), guard.room(merchant.requests_per_second))
        });
        rooms.collect()
    }

    /// The guard of a merchant whose key this is.
    fn of(&self, mch_id: &MchId, key: &ApiKey) -> Arc<Guard> {
        let mut known = self.known();
        let guard = known
            .entry(mch_id.clone())
            .or_insert_with(|| Arc::new(Guard::new(mch_id.clone(), key.clone(), self.manner)));
        guard.with_key(key);
        Arc::clone(guard)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<MchId, Arc<Guard>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use wechatpay_v2::{AppId, SignType, Unknown, Verdict};

    use super::super::guard::TURN_WITHIN;
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

    fn rooms(guards: &Guards) -> Vec<(String, usize)> {
        let rooms = guards.rooms().into_iter();
        let mut rooms: Vec<_> =
            rooms.map(|(mch_id, room)| (mch_id.to_string(), room.min(2))).collect();
        rooms.sort_unstable();
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
        let expected = [("1".to_owned(), 0), ("2".to_owned(), 2)];
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
        assert_eq!(rooms(&guards), [("1".to_owned(), 2)]);
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
        assert_eq!(rooms(&guards), [("1".to_owned(), 1)]);
        let probe = guards.admit(&by).await.unwrap();
        assert_eq!(rooms(&guards), [("1".to_owned(), 0)]);
        assert!(guards.admit(&by).await.is_err(), "a second probe");
        drop(probe);
        guards.admit(&by).await.unwrap().end(&Verdict::Yes(()));
        assert_eq!(rooms(&guards), [("1".to_owned(), 2)]);
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
