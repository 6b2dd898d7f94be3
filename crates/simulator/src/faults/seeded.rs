//! Random faults from a seed, so that a run can be repeated. The fault of a call depends only on the
//! seed, the call, the order and how often that call was made about the order, not on what else
//! runs at the same time.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::api::Api;
use crate::faults::fault::Fault;
use crate::faults::rng::Rng;
use crate::order::OrderKey;
use crate::pay_options::PayOptions;

/// Random faults. The same seed and the same sequence of calls about an order, counted from when
/// the plan was set, give the same faults.
///
/// Every [`Fault`] has the same probability, except that no call is held, a delay is 1 to 200 ms,
/// and a refusal is `SYSTEMERROR`, `FREQUENCY_LIMITED` or a failed communication: nothing final.
/// Planned faults come first; their calls are counted like any other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawSeeded")]
pub struct SeededFaults {
    pub seed: u64,
    pub per_mille: PerMille,
}

/// How many of a thousand calls go wrong; none by default. With a greater share, the calls that went
/// wrong before go wrong in the same way, and others too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PerMille {
    pub unifiedorder: u16,
    pub orderquery: u16,
    pub closeorder: u16,
    /// Affects only payments without options. Their notifications are sent twice, three times at
    /// once, 1 to 500 ms late, or never; their contents are unchanged.
    pub notification: u16,
}

const DELAY_MS_MAX: u64 = 200;
const NOTIFICATION_DELAY_MS_MAX: u64 = 500;

/// What can go wrong, in the order of [`PerMille`]'s fields.
#[derive(Clone, Copy)]
enum Subject {
    Unifiedorder,
    Orderquery,
    Closeorder,
    Notification,
}

const RULES: [&str; 4] = [
    "seeded.per_mille.unifiedorder is a whole number from 0 to 1000",
    "seeded.per_mille.orderquery is a whole number from 0 to 1000",
    "seeded.per_mille.closeorder is a whole number from 0 to 1000",
    "seeded.per_mille.notification is a whole number from 0 to 1000",
];

impl From<Api> for Subject {
    fn from(api: Api) -> Self {
        match api {
            Api::Unifiedorder => Self::Unifiedorder,
            Api::Orderquery => Self::Orderquery,
            Api::Closeorder => Self::Closeorder,
        }
    }
}

impl PerMille {
    fn shares(&self) -> [u16; 4] {
        [self.unifiedorder, self.orderquery, self.closeorder, self.notification]
    }
}

impl SeededFaults {
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        let mut shares = self.per_mille.shares().into_iter().zip(RULES);
        let broken = shares.find(|(share, _)| *share > 1000);
        broken.map_or(Ok(()), |(_, rule)| Err(rule))
    }

    /// If the call that comes after `before` others goes wrong, the generator that decides how.
    fn draw(&self, subject: Subject, out_trade_no: &str, before: u64) -> Option<Rng> {
        let share = self.per_mille.shares()[subject as usize];
        let bytes = out_trade_no.bytes().map(u64::from);
        let words = [subject as u64].into_iter().chain(bytes).chain([before]);
        let mut rng = Rng::new(self.seed, words);
        (rng.below(1000) < u64::from(share)).then_some(rng)
    }
}

fn call_fault(mut rng: Rng) -> Fault {
    match rng.below(14) {
        0 => Fault::DropBefore,
        1 => Fault::DropAfterCommit,
        2 => Fault::SystemError,
        3 => Fault::SystemErrorAfterCommit,
        4 => Fault::Status5xx,
        5 => Fault::Html,
        6 => Fault::Empty,
        7 => Fault::Truncated,
        8 => Fault::BadSignature,
        9 => Fault::MissingSignature,
        10 => Fault::OtherOrder,
        11 => Fault::DelayMs(1 + rng.below(DELAY_MS_MAX)),
        12 => Fault::FrequencyLimited,
        _ => Fault::ReturnFail("系统繁忙，请稍后再试".to_owned()),
    }
}

/// Only what WeChat does too: it changes when and how often a notification is sent, not its contents.
fn notification_fault(mut rng: Rng) -> PayOptions {
    let usual = PayOptions::default();
    match rng.below(4) {
        0 => PayOptions { notify: Some(2), ..usual },
        1 => PayOptions { notify: Some(3), concurrently: true, ..usual },
        2 => PayOptions { delay_ms: 1 + rng.below(NOTIFICATION_DELAY_MS_MAX), ..usual },
        _ => PayOptions { notify: Some(0), ..usual },
    }
}

/// The JSON form. Its numbers are `Value`s, so that an error names the rule and not a Rust type.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSeeded {
    seed: Value,
    per_mille: RawPerMille,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawPerMille {
    unifiedorder: Value,
    orderquery: Value,
    closeorder: Value,
    notification: Value,
}

impl Default for RawPerMille {
    fn default() -> Self {
        let none = || Value::from(0);
        Self { unifiedorder: none(), orderquery: none(), closeorder: none(), notification: none() }
    }
}

impl TryFrom<RawSeeded> for SeededFaults {
    type Error = &'static str;

    fn try_from(raw: RawSeeded) -> Result<Self, Self::Error> {
        // A value that is no number of 16 bits fails the check below.
        let parse = |value: Value| value.as_u64().and_then(|n| n.try_into().ok());
        let share = |value| parse(value).unwrap_or(u16::MAX);
        let seeded = Self {
            seed: raw.seed.as_u64().ok_or("seeded.seed is a whole number of 64 bits")?,
            per_mille: PerMille {
                unifiedorder: share(raw.per_mille.unifiedorder),
                orderquery: share(raw.per_mille.orderquery),
                closeorder: share(raw.per_mille.closeorder),
                notification: share(raw.per_mille.notification),
            },
        };
        seeded.check()?;
        Ok(seeded)
    }
}

/// How often each call was made about each order since the plan was set. Calls that name no order
/// count together. Beyond `orders_max` orders nothing is counted, and nothing goes wrong.
#[derive(Default)]
pub(crate) struct CallCounters(HashMap<Option<OrderKey>, [u64; 4]>);

impl CallCounters {
    /// Counts the call, and returns its fault.
    pub(crate) fn fault(
        &mut self,
        seeded: &SeededFaults,
        api: Api,
        key: Option<&OrderKey>,
        orders_max: usize,
    ) -> Option<Fault> {
        self.count(seeded, api.into(), key, orders_max).map(call_fault)
    }

    /// Counts the notification, and returns how it is delivered, if not as usual.
    pub(crate) fn notification_fault(
        &mut self,
        seeded: &SeededFaults,
        key: &OrderKey,
        orders_max: usize,
    ) -> Option<PayOptions> {
        self.count(seeded, Subject::Notification, Some(key), orders_max).map(notification_fault)
    }

    pub(crate) fn delete(&mut self, key: &OrderKey) {
        self.0.remove(&Some(key.clone()));
    }

    fn count(
        &mut self,
        seeded: &SeededFaults,
        subject: Subject,
        key: Option<&OrderKey>,
        orders_max: usize,
    ) -> Option<Rng> {
        let named = key.cloned();
        if self.0.len() > orders_max && !self.0.contains_key(&named) {
            return None;
        }
        let count = &mut self.0.entry(named).or_default()[subject as usize];
        let before = *count;
        *count += 1;
        seeded.draw(subject, key.map_or("", |key| &key.out_trade_no), before)
    }
}
