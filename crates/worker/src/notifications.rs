//! Handles the notifications of WeChat: read, verified, and settled a batch at a time.

mod payment;
mod reading;
mod refund;
mod suspects;

use std::collections::HashMap;
use std::time::Duration;

use broker::{Delivery, Handler, Outcome};
use service::metrics::names;
use wechatpay_v2::MchId;

use crate::budget::Budget;
use crate::merchants::Merchants;
use crate::order_service::OrderService;
use crate::reconcile::QueryRequests;
use crate::store::{NotificationStatus, ObservedFact, Settled, SettlementInput, StoreError};
use crate::{clock, failpoint};
use suspects::{SuspectNotification, SuspectQueries};

pub(crate) use reading::Reading;

/// The database is away or busy: the batch waits in the broker, and no attempt is counted.
const DATABASE_SNOOZE: Duration = Duration::from_secs(5);

/// Unverified notifications that are stored per merchant: enough for an operator to see what is
/// wrong, too few to fill a disk at 64 KiB each.
const SAMPLE_PER_HOUR: u32 = 50;

/// Handles the notification queue.
pub(crate) struct Notifications {
    service: OrderService,
    sample: Budget,
    suspect_queries: SuspectQueries,
}

/// A delivery on its way through the batch.
struct Pending {
    /// What is stored of it.
    input: Option<SettlementInput>,
    outcome: Outcome,
    suspect: Option<SuspectNotification>,
    bad_signature_of: Option<MchId>,
}

/// Reads a delivery with the keys and rules of now.
pub(crate) fn read(merchants: &Merchants, delivery: &Delivery) -> Reading {
    let Some(named) = delivery.header("mch_id") else {
        return Reading::Parked("the header mch_id is missing");
    };
    let merchant = MchId::parse(named).ok().and_then(|mch_id| merchants.get(&mch_id));
    let Some(merchant) = merchant else {
        return Reading::Ignored("foreign_merchant");
    };
    match delivery.routing_key.as_str() {
        "payment" => payment::read(delivery, &merchant),
        "refund" => refund::read(delivery, &merchant),
        _ => Reading::Parked("no such notification"),
    }
}

impl Handler for Notifications {
    async fn handle(&self, batch: Vec<Delivery>) -> Vec<Outcome> {
        failpoint::reached("notification.taken");
        let mut batch: Vec<Pending> = batch.iter().map(|delivery| self.prepare(delivery)).collect();
        self.settle(&mut batch).await;
        failpoint::reached("notification.settled");
        self.count_bad_signatures(&batch).await;
        let suspects = batch.iter_mut().filter_map(|pending| pending.suspect.take()).collect();
        self.suspect_queries.request(suspects).await;
        batch.into_iter().map(|pending| pending.outcome).collect()
    }
}

impl Notifications {
    pub(crate) fn new(service: OrderService, requests: QueryRequests) -> Self {
        let suspect_queries = SuspectQueries::new(service.store.clone(), requests);
        Self { service, sample: Budget::new(3600, SAMPLE_PER_HOUR), suspect_queries }
    }

    fn prepare(&self, delivery: &Delivery) -> Pending {
        match read(&self.service.merchants, delivery) {
            Reading::Authentic { input, outcome } => {
                // A notification with a fact is counted once its fact is settled.
                if let SettlementInput::Evidence(evidence) = &*input {
                    count(evidence.status.as_str());
                }
                Pending { input: Some(*input), ..Pending::with(outcome) }
            }
            Reading::Unverified { evidence, claimed_key } => {
                count(evidence.status.as_str());
                let has_bad_signature = evidence.status == NotificationStatus::BadSignature;
                let is_sampled = self.sample.take(&evidence.mch_id, clock::now());
                Pending {
                    bad_signature_of: has_bad_signature.then(|| evidence.mch_id.clone()),
                    input: is_sampled.then(|| SettlementInput::Evidence(*evidence)),
                    suspect: claimed_key.map(SuspectNotification::unsigned),
                    ..Pending::with(Outcome::Done)
                }
            }
            Reading::Ignored(label) => {
                count(label);
                Pending::with(Outcome::Done)
            }
            Reading::Parked(reason) => {
                count("parked");
                Pending::with(Outcome::Park { reason: reason.to_owned() })
            }
        }
    }

    /// Settles the whole batch in one transaction. When the batch cannot be stored although the
    /// database is there, each notification is settled alone: a bad one does not block the others.
    async fn settle(&self, batch: &mut [Pending]) {
        let inputs: Vec<_> = batch.iter().filter_map(|pending| pending.input.clone()).collect();
        if inputs.is_empty() {
            return;
        }
        let stored = batch.iter_mut().filter(|pending| pending.input.is_some());
        match self.service.settle(&inputs).await {
            Ok(settled) => {
                for (pending, settled) in stored.zip(settled) {
                    self.finish(pending, &settled);
                }
            }
            Err(error) if inputs.len() == 1 || !error.is_about_rows() => {
                tracing::warn!(
                    %error,
                    count = inputs.len(),
                    "notifications could not be stored; they are delivered again"
                );
                stored.for_each(|pending| pending.failed(&error));
            }
            Err(error) => {
                tracing::warn!(%error, count = inputs.len(), "a batch is settled one by one");
                self.settle_each(stored.zip(inputs)).await;
            }
        }
    }

    async fn settle_each<'a>(
        &self,
        batch: impl Iterator<Item = (&'a mut Pending, SettlementInput)>,
    ) {
        for (pending, input) in batch {
            match self.service.settle_one(input).await {
                Ok(settled) => self.finish(pending, &settled),
                Err(error) => {
                    tracing::warn!(%error, "a notification could not be stored");
                    pending.failed(&error);
                }
            }
        }
    }

    fn finish(&self, pending: &mut Pending, settled: &Settled) {
        let fact = pending.input.as_ref().and_then(SettlementInput::observed_fact);
        if let Some(fact) = fact
            && matches!(settled.status, NotificationStatus::Applied | NotificationStatus::Already)
        {
            self.service.notified.record(&fact.key.mch_id);
        }
        pending.settled(settled);
    }

    async fn count_bad_signatures(&self, batch: &[Pending]) {
        let mut counts: HashMap<&MchId, i64> = HashMap::new();
        for mch_id in batch.iter().filter_map(|pending| pending.bad_signature_of.as_ref()) {
            *counts.entry(mch_id).or_default() += 1;
        }
        for (mch_id, count) in counts {
            let counted = self.service.store.count_bad_signatures(mch_id, count, clock::now());
            if let Err(error) = counted.await {
                tracing::warn!(%mch_id, count, %error, "bad signatures could not be counted");
            }
        }
    }
}

impl Pending {
    fn with(outcome: Outcome) -> Self {
        Self { input: None, outcome, suspect: None, bad_signature_of: None }
    }

    fn settled(&mut self, settled: &Settled) {
        let Some(input) = &self.input else { return };
        if let Some(fact) = input.observed_fact() {
            count(settled.status.as_str());
            log_settled(fact, settled.status);
            self.suspect = SuspectNotification::from_settlement(input, settled);
        }
    }

    fn failed(&mut self, error: &StoreError) {
        count("not_stored");
        self.outcome = match error {
            StoreError::Unavailable(_) => Outcome::Snooze(DATABASE_SNOOZE),
            StoreError::Conflict(_) | StoreError::Fault(_) => {
                Outcome::Retry { reason: error.to_string() }
            }
        };
    }
}

fn count(result: &'static str) {
    metrics::counter!(names::NOTIFICATIONS, "result" => result).increment(1);
}

fn log_settled(fact: &ObservedFact, status: NotificationStatus) {
    let mch_id = &fact.key.mch_id;
    let out_trade_no = &fact.key.out_trade_no;
    match status {
        NotificationStatus::Exception | NotificationStatus::Refused => tracing::warn!(
            %mch_id, %out_trade_no, status = status.as_str(),
            "a payment does not fit its order; see `wxpay-worker exceptions list`"
        ),
        _ => tracing::info!(
            %mch_id, %out_trade_no, status = status.as_str(),
            "a payment notification was settled"
        ),
    }
}
