use std::collections::{BTreeMap, BTreeSet};

use orders::{Fact, OrderKey};
use service::metrics::names;
use wechatpay_v2::AppId;

use crate::budget::Budget;
use crate::clock;
use crate::reconcile::QueryRequests;
use crate::store::{NotificationStatus, Settled, SettlementInput, Store};

/// Queries per merchant that suspect notifications may cause: a forger can name any order.
const QUERIES_PER_MINUTE: u32 = 30;

/// A notification that does not prove what it claims. A query of the order does.
#[derive(Debug)]
pub(super) struct SuspectNotification {
    key: OrderKey,
    /// Given when the order is unknown, so that its number can be queried all the same.
    appid: Option<AppId>,
    is_signed: bool,
}

/// Has the orders of suspect notifications queried, within the budgets of each merchant.
pub(super) struct SuspectQueries {
    store: Store,
    requests: QueryRequests,
    unsigned_budget: Budget,
    signed_budget: Budget,
}

impl SuspectNotification {
    pub(super) fn unsigned(key: OrderKey) -> Self {
        Self { key, appid: None, is_signed: false }
    }

    /// A signed payment that does not fit its order, or whose order is unknown.
    pub(super) fn from_settlement(input: &SettlementInput, settled: &Settled) -> Option<Self> {
        let observed = input.observed_fact()?;
        let (NotificationStatus::Exception | NotificationStatus::Refused) = settled.status else {
            return None;
        };
        let appid = match &observed.fact {
            Fact::Paid { payment, .. } if settled.view.is_none() => Some(payment.appid.clone()),
            _ => None,
        };
        Some(Self { key: observed.key.clone(), appid, is_signed: true })
    }
}

impl SuspectQueries {
    pub(super) fn new(store: Store, requests: QueryRequests) -> Self {
        Self {
            store,
            requests,
            unsigned_budget: Budget::new(60, QUERIES_PER_MINUTE),
            signed_budget: Budget::new(60, QUERIES_PER_MINUTE),
        }
    }

    /// Has each order queried once. A number that leads to no query uses no budget, so a forger who
    /// invents numbers uses none, and costs one database query for a whole batch.
    pub(super) async fn request(&self, suspects: Vec<SuspectNotification>) {
        let mut suspects = one_per_order(suspects);
        suspects.retain(|key, suspect| {
            let has_budget = self.budget(suspect).has(&key.mch_id, clock::now());
            if !has_budget {
                count_over_budget();
            }
            has_budget
        });
        if suspects.is_empty() {
            return;
        }
        let keys: Vec<OrderKey> = suspects.keys().cloned().collect();
        let open: BTreeSet<OrderKey> = match self.store.filter_non_terminal(&keys).await {
            Ok(open) => open.into_iter().collect(),
            Err(error) => {
                tracing::warn!(orders = keys.len(), %error, "suspect notifications cause no query");
                return;
            }
        };
        for (key, suspect) in suspects {
            self.request_one(key, suspect, &open).await;
        }
    }

    async fn request_one(
        &self,
        key: OrderKey,
        suspect: SuspectNotification,
        open: &BTreeSet<OrderKey>,
    ) {
        let is_open = open.contains(&key);
        if !is_open && suspect.appid.is_none() {
            return;
        }
        if !self.budget(&suspect).take(&key.mch_id, clock::now()) {
            count_over_budget();
        } else if is_open {
            if let Err(error) = self.store.schedule_check(&key).await {
                let OrderKey { mch_id, out_trade_no } = &key;
                tracing::warn!(%mch_id, %out_trade_no, %error, "an order is not checked now");
            }
        } else if let Some(appid) = suspect.appid {
            self.requests.query_unknown(key, appid);
        }
    }

    fn budget(&self, suspect: &SuspectNotification) -> &Budget {
        if suspect.is_signed { &self.signed_budget } else { &self.unsigned_budget }
    }
}

/// A signed notification counts before an unsigned one about the same order.
fn one_per_order(suspects: Vec<SuspectNotification>) -> BTreeMap<OrderKey, SuspectNotification> {
    let (signed, unsigned): (Vec<_>, Vec<_>) =
        suspects.into_iter().partition(|suspect| suspect.is_signed);
    let by_key = |suspect: SuspectNotification| (suspect.key.clone(), suspect);
    unsigned.into_iter().chain(signed).map(by_key).collect()
}

fn count_over_budget() {
    metrics::counter!(names::QUERIES_OVER_BUDGET).increment(1);
}
