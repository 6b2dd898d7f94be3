//! What WeChat tells us: read, verified, and applied a batch at a time.

mod payment;
mod refund;
mod sample;

use broker::{Delivery, Handler, Outcome};
use sha2::{Digest, Sha256};
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use wechatpay_v2::MchId;

use crate::clock;
use crate::merchants::{Merchant, Merchants};
use crate::store::{Evidence, Item, Settled, Store, StoreError, Verdict};
use sample::Sample;

/// The database is away or busy: the batch waits in the broker, at no cost of an attempt.
const DATABASE_AWAY: Duration = Duration::from_secs(5);
/// A batch that meets another writer is decided anew this often.
const CONFLICTS_MAX: usize = 3;

/// Handles the notification queue.
pub(crate) struct Notifications {
    store: Store,
    merchants: Merchants,
    sample: Sample,
}

/// What a delivery turned out to be, before the database is asked.
enum Reading {
    /// Something to write down, and what to do with the delivery then.
    Keep { item: Box<Item>, result: Option<&'static str>, then: Outcome },
    /// Worth a count and nothing more: it can come from anybody.
    Count(&'static str),
    /// Not from our ingress; for a human.
    Park(&'static str),
}

impl Notifications {
    pub(crate) fn new(store: Store, merchants: Merchants) -> Self {
        Self { store, merchants, sample: Sample::default() }
    }

    fn read(&self, delivery: &Delivery) -> Reading {
        let Some(named) = delivery.header("mch_id") else {
            return Reading::Park("the header mch_id is missing");
        };
        let merchant = MchId::parse(named).ok().and_then(|mch_id| self.merchants.get(&mch_id));
        let Some(merchant) = merchant else {
            return Reading::Count("foreign_merchant");
        };
        match delivery.routing_key.as_str() {
            "payment" => payment::read(delivery, merchant, &self.sample),
            "refund" => refund::read(delivery, merchant, &self.sample),
            _ => Reading::Park("no such notification"),
        }
    }

    /// Settles a batch; when it fails for a reason of ours, one by one, so that a poisoned message
    /// does not hold up its neighbours.
    async fn settle(&self, items: &[Item]) -> Vec<Result<Settled, StoreError>> {
        match self.settle_together(items).await {
            Ok(settled) => settled.into_iter().map(Ok).collect(),
            Err(error) if items.len() == 1 => vec![Err(error)],
            Err(StoreError::Unavailable(_)) => {
                let away = |_| Err(StoreError::Unavailable(sqlx::Error::PoolTimedOut));
                items.iter().map(away).collect()
            }
            Err(error) => {
                tracing::warn!(%error, size = items.len(), "a batch is settled one by one");
                let mut each = Vec::with_capacity(items.len());
                for item in items {
                    let settled = self.settle_together(std::slice::from_ref(item)).await;
                    each.push(settled.and_then(|settled| {
                        let none = || StoreError::Fault("an item without an answer".to_owned());
                        settled.into_iter().next().ok_or_else(none)
                    }));
                }
                each
            }
        }
    }

    async fn settle_together(&self, items: &[Item]) -> Result<Vec<Settled>, StoreError> {
        let mut conflicts = 0;
        loop {
            match self.store.settle(items).await {
                Err(StoreError::Conflict(_)) if conflicts < CONFLICTS_MAX => conflicts += 1,
                settled => return settled,
            }
        }
    }
}

impl Handler for Notifications {
    async fn handle(&self, batch: Vec<Delivery>) -> Vec<Outcome> {
        let mut outcomes = vec![Outcome::Done; batch.len()];
        let mut places = Vec::with_capacity(batch.len());
        let mut items = Vec::with_capacity(batch.len());
        for (place, delivery) in batch.iter().enumerate() {
            match self.read(delivery) {
                Reading::Keep { item, result, then } => {
                    items.push(*item);
                    places.push((place, result));
                    outcomes[place] = then;
                }
                Reading::Count(result) => count(result),
                Reading::Park(reason) => {
                    count("parked");
                    outcomes[place] = Outcome::Park { reason: reason.to_owned() };
                }
            }
        }
        if items.is_empty() {
            return outcomes;
        }
        let settled = self.settle(&items).await;
        for (((place, result), item), settled) in places.into_iter().zip(&items).zip(settled) {
            match settled {
                Ok(settled) => {
                    count(result.unwrap_or(settled.verdict.as_str()));
                    say(item, &settled);
                }
                Err(error) => outcomes[place] = trouble(&error),
            }
        }
        outcomes
    }
}

fn trouble(error: &StoreError) -> Outcome {
    count("not_stored");
    tracing::warn!(%error, "a notification could not be stored");
    match error {
        StoreError::Unavailable(_) => Outcome::Snooze(DATABASE_AWAY),
        StoreError::Conflict(_) | StoreError::Fault(_) => {
            Outcome::Retry { reason: error.to_string() }
        }
    }
}

fn count(result: &'static str) {
    metrics::counter!("wxpay_notifications_total", "result" => result).increment(1);
}

fn say(item: &Item, settled: &Settled) {
    let Some(learned) = &item.learned else { return };
    match settled.verdict {
        Verdict::Exception | Verdict::Refused => {
            tracing::warn!(key = %learned.key, verdict = settled.verdict.as_str(),
                "a payment does not fit; an exception is open");
        }
        _ => tracing::info!(key = %learned.key, verdict = settled.verdict.as_str(), "payment"),
    }
}

/// The evidence of a delivery about which nothing more is known yet.
fn evidence(
    delivery: &Delivery,
    kind: &'static str,
    merchant: &Merchant,
    verdict: Verdict,
) -> Evidence {
    let received_at = delivery.header("received_at");
    let received_at = received_at.and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
    Evidence {
        digest: Sha256::digest(&delivery.body).into(),
        kind,
        mch_id: merchant.mch_id.clone(),
        out_trade_no: None,
        transaction_id: None,
        raw: delivery.body.clone(),
        received_at: received_at.unwrap_or_else(clock::now),
        verdict,
        detail: None,
    }
}

/// A number of WeChat's, fit for an index: those that are real have 32 characters at most.
fn known(number: &str) -> String {
    number.chars().take(64).collect()
}

/// What does not verify can come from anybody: a bounded sample is kept, the rest is counted.
fn unverified(mut evidence: Evidence, why: String, sample: &Sample) -> Reading {
    let result = evidence.verdict.as_str();
    if !sample.takes(&evidence.mch_id, evidence.received_at) {
        return Reading::Count(result);
    }
    evidence.detail = Some(why);
    keep(Item { learned: None, evidence: Some(evidence) }, Some(result), Outcome::Done)
}

fn keep(item: Item, result: Option<&'static str>, then: Outcome) -> Reading {
    Reading::Keep { item: Box::new(item), result, then }
}
