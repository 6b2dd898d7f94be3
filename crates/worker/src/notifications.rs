//! What WeChat tells us: read, verified, and applied a batch at a time.

mod payment;
mod refund;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use broker::{Delivery, Handler, Outcome};
use orders::{Fact, OrderKey};
use sha2::{Digest, Sha256};
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use wechatpay_v2::{AppId, MchId};

use crate::budget::Budget;
use crate::merchants::{Merchant, Merchants};
use crate::order_service::OrderService;
use crate::reconcile::QueryRequests;
use crate::store::{Evidence, NotificationStatus, Settled, SettlementInput, StoreError};
use crate::{clock, failpoint};

/// The database is away or busy: the batch waits in the broker, at no cost of an attempt.
const DATABASE_AWAY: Duration = Duration::from_secs(5);

/// Unverified notifications kept per merchant: enough for a person to see what is wrong, too
/// little to fill a disk at 64 KiB each.
const SAMPLE_PER_HOUR: u32 = 50;
/// Queries per merchant that odd notifications may cause: a forger can name any order.
const QUERIES_PER_MINUTE: u32 = 30;

/// Handles the notification queue.
pub(crate) struct Notifications {
    service: OrderService,
    /// What does not verify is kept only so often.
    sample: Budget,
    /// What is odd makes us ask WeChat only so often.
    claimed_queries: Budget,
    signed_queries: Budget,
    query_requests: QueryRequests,
}

/// What a delivery turned out to be, before the database is asked.
pub(crate) enum Reading {
    /// Something to write down, and what to do with the delivery then.
    Keep { input: Box<SettlementInput>, then: Outcome },
    /// It can come from anybody: a bounded sample is kept, the rest is counted. What it claims to
    /// be about is worth a question.
    Unverified { evidence: Box<Evidence>, claims: Option<OrderKey> },
    /// Worth a count and nothing more.
    Count(&'static str),
    /// Not from our ingress; for a human.
    Park(&'static str),
}

impl Notifications {
    pub(crate) fn new(service: OrderService, query_requests: QueryRequests) -> Self {
        Self {
            service,
            sample: Budget::new(3600, SAMPLE_PER_HOUR),
            claimed_queries: Budget::new(60, QUERIES_PER_MINUTE),
            signed_queries: Budget::new(60, QUERIES_PER_MINUTE),
            query_requests,
        }
    }

    /// Settles a batch; when it fails for a reason of ours, one by one, so that a poisoned message
    /// does not hold up its neighbours.
    async fn settle(&self, inputs: &[SettlementInput]) -> Vec<Result<Settled, StoreError>> {
        match self.service.settle(inputs).await {
            Ok(settled) => settled.into_iter().map(Ok).collect(),
            Err(error) if inputs.len() == 1 => vec![Err(error)],
            Err(StoreError::Unavailable(_)) => {
                let away = |_| Err(StoreError::Unavailable(sqlx::Error::PoolTimedOut));
                inputs.iter().map(away).collect()
            }
            Err(error) => {
                tracing::warn!(%error, size = inputs.len(), "a batch is settled one by one");
                let mut each = Vec::with_capacity(inputs.len());
                for input in inputs {
                    let settled = self.service.settle(std::slice::from_ref(input)).await;
                    each.push(settled.and_then(|settled| {
                        let none = || StoreError::Fault("an input without a result".to_owned());
                        settled.into_iter().next().ok_or_else(none)
                    }));
                }
                each
            }
        }
    }
}

/// What a delivery says, as far as today's keys and rules can tell.
pub(crate) fn read(merchants: &Merchants, delivery: &Delivery) -> Reading {
    let Some(named) = delivery.header("mch_id") else {
        return Reading::Park("the header mch_id is missing");
    };
    let merchant = MchId::parse(named).ok().and_then(|mch_id| merchants.get(&mch_id));
    let Some(merchant) = merchant else {
        return Reading::Count("foreign_merchant");
    };
    match delivery.routing_key.as_str() {
        "payment" => payment::read(delivery, &merchant),
        "refund" => refund::read(delivery, &merchant),
        _ => Reading::Park("no such notification"),
    }
}

impl Handler for Notifications {
    async fn handle(&self, batch: Vec<Delivery>) -> Vec<Outcome> {
        failpoint::reached("notification.taken");
        let mut sorted = Sorted::default();
        for (place, delivery) in batch.iter().enumerate() {
            let outcome = self.sort(&mut sorted, place, read(&self.service.merchants, delivery));
            sorted.outcomes.push(outcome);
        }
        let Sorted { mut outcomes, inputs, places, bad_signatures, mut odd } = sorted;
        let settled = match inputs.is_empty() {
            true => Vec::new(),
            false => self.settle(&inputs).await,
        };
        failpoint::reached("notification.settled");
        for ((place, input), settled) in places.into_iter().zip(&inputs).zip(settled) {
            match settled {
                Ok(settled) => {
                    if input.observed_fact().is_some() {
                        count(settled.status.as_str());
                    }
                    say(input, &settled);
                    odd.extend(odd_payment(input, &settled));
                }
                Err(error) => outcomes[place] = trouble(&error),
            }
        }
        self.tell_bad_signatures(bad_signatures).await;
        self.ask(odd).await;
        outcomes
    }
}

/// A batch, sorted by what is to be done with its deliveries.
#[derive(Default)]
struct Sorted {
    outcomes: Vec<Outcome>,
    inputs: Vec<SettlementInput>,
    /// Whose input it is.
    places: Vec<usize>,
    bad_signatures: HashMap<MchId, i64>,
    /// What WeChat is to be asked about.
    odd: Vec<Odd>,
}

/// Something odd was said about an order: the notification proves nothing, but a query does.
struct Odd {
    key: OrderKey,
    /// Given where the order is not ours, so that it can be asked about all the same.
    appid: Option<AppId>,
    /// Whether somebody with the key said it.
    signed: bool,
}

impl Notifications {
    fn sort(&self, sorted: &mut Sorted, place: usize, reading: Reading) -> Outcome {
        match reading {
            Reading::Keep { input, then } => {
                if let SettlementInput::Evidence(evidence) = &*input {
                    count(evidence.status.as_str());
                }
                sorted.inputs.push(*input);
                sorted.places.push(place);
                then
            }
            Reading::Unverified { evidence, claims } => {
                count(evidence.status.as_str());
                if evidence.status == NotificationStatus::BadSignature {
                    *sorted.bad_signatures.entry(evidence.mch_id.clone()).or_default() += 1;
                }
                sorted.odd.extend(claims.map(|key| Odd { key, appid: None, signed: false }));
                if self.sample.take(&evidence.mch_id, clock::now()) {
                    sorted.inputs.push(SettlementInput::Evidence(*evidence));
                    sorted.places.push(place);
                }
                Outcome::Done
            }
            Reading::Count(result) => {
                count(result);
                Outcome::Done
            }
            Reading::Park(reason) => {
                count("parked");
                Outcome::Park { reason: reason.to_owned() }
            }
        }
    }

    async fn tell_bad_signatures(&self, bad_signatures: HashMap<MchId, i64>) {
        for (mch_id, count) in bad_signatures {
            let counted = self.service.store.count_bad_signatures(&mch_id, count, clock::now());
            if let Err(error) = counted.await {
                tracing::warn!(%mch_id, count, %error, "bad signatures are not counted");
            }
        }
    }

    /// Has WeChat asked about what is odd, each order once and within the merchant's budgets. What
    /// causes no question costs nothing, so that a forger who invents numbers spends no budget, and
    /// no more than one look into the database for all of a batch.
    async fn ask(&self, odd: Vec<Odd>) {
        let mut odd: BTreeMap<OrderKey, Odd> =
            odd.into_iter().map(|it| (it.key.clone(), it)).collect();
        odd.retain(|key, it| {
            let affordable = self.budget_of(it).has(&key.mch_id, clock::now());
            if !affordable {
                metrics::counter!("wxpay_queries_over_budget_total").increment(1);
            }
            affordable
        });
        if odd.is_empty() {
            return;
        }
        let named: Vec<OrderKey> = odd.keys().cloned().collect();
        let ours = match self.service.store.filter_non_terminal(&named).await {
            Ok(ours) => ours.into_iter().collect::<BTreeSet<_>>(),
            Err(error) => {
                tracing::warn!(orders = named.len(), %error, "no order is looked at now");
                return;
            }
        };
        for (key, it) in odd {
            let is_ours = ours.contains(&key);
            if !is_ours && it.appid.is_none() {
                continue;
            }
            if !self.budget_of(&it).take(&key.mch_id, clock::now()) {
                metrics::counter!("wxpay_queries_over_budget_total").increment(1);
            } else if is_ours {
                if let Err(error) = self.service.store.schedule_check(&key).await {
                    tracing::warn!(%key, %error, "an order is not looked at now");
                }
            } else if let Some(appid) = it.appid {
                self.query_requests.send(key, appid);
            }
        }
    }

    fn budget_of(&self, odd: &Odd) -> &Budget {
        if odd.signed { &self.signed_queries } else { &self.claimed_queries }
    }
}

/// A payment that does not fit an order, or whose order we do not know.
fn odd_payment(input: &SettlementInput, settled: &Settled) -> Option<Odd> {
    let observed = input.observed_fact()?;
    let odd = matches!(settled.status, NotificationStatus::Exception | NotificationStatus::Refused);
    let appid = match &observed.fact {
        Fact::Paid { payment, .. } if settled.view.is_none() => Some(payment.appid.clone()),
        _ => None,
    };
    odd.then(|| Odd { key: observed.key.clone(), appid, signed: true })
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

fn say(input: &SettlementInput, settled: &Settled) {
    let Some(observed) = input.observed_fact() else { return };
    match settled.status {
        NotificationStatus::Exception | NotificationStatus::Refused => {
            tracing::warn!(key = %observed.key, verdict = settled.status.as_str(),
                "a payment does not fit; an exception is open");
        }
        _ => tracing::info!(key = %observed.key, verdict = settled.status.as_str(), "payment"),
    }
}

/// The evidence of a delivery about which nothing more is known yet.
fn evidence(
    delivery: &Delivery,
    kind: &'static str,
    merchant: &Merchant,
    status: NotificationStatus,
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
        status,
        detail: None,
    }
}

/// A number of WeChat's, fit for an index: those that are real have 32 characters at most.
fn known(number: &str) -> String {
    number.chars().take(64).collect()
}

fn unverified(mut evidence: Evidence, why: String, claims: Option<OrderKey>) -> Reading {
    evidence.detail = Some(why);
    Reading::Unverified { evidence: Box::new(evidence), claims }
}

fn keep(input: SettlementInput, then: Outcome) -> Reading {
    Reading::Keep { input: Box::new(input), then }
}
