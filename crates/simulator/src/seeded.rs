//! What goes wrong by chance: drawn from a seed, so that a run can be had again. What strikes a
//! call depends on nothing but the seed, the call, the order and how often that call was made
//! about it, whatever else runs at the same time.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::chance::Chance;
use crate::faults::Fault;
use crate::order::OrderKey;
use crate::pay_options::PayOptions;
use crate::view::Api;

/// Faults by chance. The same seed and the same sequence of calls about an order, counted from
/// when the plan was set, give the same faults.
///
/// A call is struck by any [`Fault`] with the same probability, except that nothing holds, a delay
/// is 1 to 200 ms, and a refusal is `SYSTEMERROR`, `FREQUENCY_LIMITED` or a failed communication:
/// nothing that is final. Planned faults come first, and what they strike is counted all the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawSeeded")]
pub struct SeededFaults {
    /// Where chance begins.
    pub seed: u64,
    /// How often it strikes.
    pub per_mille: PerMille,
}

/// How many of a thousand calls go wrong; none unless said. A greater share strikes where a
/// smaller one does, in the same way, and elsewhere too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "WeChat's names of the calls")]
pub struct PerMille {
    pub unifiedorder: u16,
    pub orderquery: u16,
    pub closeorder: u16,
    /// Of the notifications of payments without any option. They come twice, thrice at the same
    /// time, 1 to 500 ms late, or never; what they say is always true.
    pub notification: u16,
}

const DELAY_MS_MAX: u64 = 200;
const NOTIFICATION_DELAY_MS_MAX: u64 = 500;

/// What chance decides about, in the order of [`PerMille`]'s fields.
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
    /// The bounds.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        let broken =
            self.per_mille.shares().into_iter().zip(RULES).find(|(share, _)| *share > 1000);
        broken.map_or(Ok(()), |(_, rule)| Err(rule))
    }

    /// Whether chance strikes what comes after `before` others, and then the chance that says how.
    fn strike(&self, subject: Subject, out_trade_no: &str, before: u64) -> Option<Chance> {
        let share = self.per_mille.shares()[subject as usize];
        let bytes = out_trade_no.bytes().map(u64::from);
        let words = [subject as u64].into_iter().chain(bytes).chain([before]);
        let mut chance = Chance::of(self.seed, words);
        (chance.below(1000) < u64::from(share)).then_some(chance)
    }
}

fn fault(mut chance: Chance) -> Fault {
    match chance.below(14) {
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
        11 => Fault::DelayMs(1 + chance.below(DELAY_MS_MAX)),
        12 => Fault::FrequencyLimited,
        _ => Fault::ReturnFail("系统繁忙，请稍后再试".to_owned()),
    }
}

/// Only what WeChat does too. Made of nothing but when and how often, it alters no notification.
fn delivery(mut chance: Chance) -> PayOptions {
    let usual = PayOptions::default();
    match chance.below(4) {
        0 => PayOptions { notify: Some(2), ..usual },
        1 => PayOptions { notify: Some(3), concurrently: true, ..usual },
        2 => PayOptions { delay_ms: 1 + chance.below(NOTIFICATION_DELAY_MS_MAX), ..usual },
        _ => PayOptions { notify: Some(0), ..usual },
    }
}

/// The form on the wire, before its bounds are checked.
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
        // What is no share at all fails the check.
        let share = |value: Value| value.as_u64().and_then(|n| n.try_into().ok());
        let share = |value| share(value).unwrap_or(u16::MAX);
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

/// How often each call was made about each order since the plan was set. Those that name no order
/// count together. Beyond `orders_max` orders nothing is counted, and nothing struck.
#[derive(Default)]
pub(crate) struct Counts(HashMap<Option<OrderKey>, [u64; 4]>);

impl Counts {
    /// Counts the call, and says what strikes it.
    pub(crate) fn fault(
        &mut self,
        seeded: &SeededFaults,
        api: Api,
        key: Option<&OrderKey>,
        orders_max: usize,
    ) -> Option<Fault> {
        self.count(seeded, api.into(), key, orders_max).map(fault)
    }

    /// Counts the notification, and says how it is delivered, if not as usual.
    pub(crate) fn delivery(
        &mut self,
        seeded: &SeededFaults,
        key: &OrderKey,
        orders_max: usize,
    ) -> Option<PayOptions> {
        self.count(seeded, Subject::Notification, Some(key), orders_max).map(delivery)
    }

    pub(crate) fn forget(&mut self, key: &OrderKey) {
        self.0.remove(&Some(key.clone()));
    }

    fn count(
        &mut self,
        seeded: &SeededFaults,
        subject: Subject,
        key: Option<&OrderKey>,
        orders_max: usize,
    ) -> Option<Chance> {
        let named = key.cloned();
        if self.0.len() > orders_max && !self.0.contains_key(&named) {
            return None;
        }
        let count = &mut self.0.entry(named).or_default()[subject as usize];
        let before = *count;
        *count += 1;
        seeded.strike(subject, key.map_or("", |key| &key.out_trade_no), before)
    }
}
