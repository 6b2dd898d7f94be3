//! What every handler works with, and what each of them does at the gateway.

use std::time::{Duration, Instant};

use orders::{Fact, Failure, Order, OrderView, Source, State};
use time::OffsetDateTime;
use uuid::Uuid;
use wechatpay_v2::unifiedorder::Prepay;
use wechatpay_v2::{Advice, CallOutcome, Fields, Unknown};

use crate::gateway::{Deferred, Gateway};
use crate::merchants::{Merchant, Merchants};
use crate::schedule::{self, CheckSchedule, Jitter};
use crate::store::{ObservedFact, Settled, SettlementInput, Store, StoreError};
use crate::{clock, pay};

/// With the wait for the call's token (2 s) and the call (8 s) before it, and the last attempt's 10 s
/// after it, within the lease of 30 s.
const STORE_RETRY_MAX: Duration = Duration::from_secs(8);
const STORE_RETRY_PAUSE: Duration = Duration::from_millis(250);
/// A settlement that meets another writer is decided anew this often before it is put back.
const CONFLICTS_MAX: usize = 3;

/// The store, the keys and the gateway.
#[derive(Clone, Debug)]
pub(crate) struct OrderService {
    pub(crate) store: Store,
    pub(crate) merchants: Merchants,
    pub(crate) gateway: Gateway,
    pub(crate) schedule: CheckSchedule,
}

/// A call of ours about an order, under its lease.
#[derive(Clone, Debug)]
pub(crate) struct LeasedOrder<'a> {
    pub(crate) merchant: &'a Merchant,
    pub(crate) order: &'a Order,
    pub(crate) holder: Uuid,
    pub(crate) traceparent: Option<String>,
}

impl OrderService {
    /// Sends the first unifiedorder, or sends it again byte for byte, and writes the outcome down,
    /// *unknown* included. Returns the order as it is then.
    pub(crate) async fn call_unifiedorder(
        &self,
        leased: &LeasedOrder<'_>,
        parameters: &Fields,
    ) -> Result<Option<OrderView>, StoreError> {
        let by = leased.merchant.credentials(leased.order.sign_type);
        let key = leased.order.key();
        // What a call brings is as old as the call: an answer that was long on its way must not
        // pass for the newest.
        let at = clock::now();
        let verdict = match self.gateway.unifiedorder(&self.store, &key, &by, parameters).await {
            Ok(verdict) => verdict,
            Err(deferred) => return self.defer_create(leased, &deferred).await,
        };
        let fact = match verdict {
            CallOutcome::Success(prepay) => Fact::PrepayIssued(prepay),
            CallOutcome::Refused(no)
                if matches!(no.advice, Advice::FixRequest | Advice::NumberUnusable) =>
            {
                tracing::warn!(%key, err_code = no.err_code, "WeChat refused the order");
                let (err_code, err_code_des) = (no.err_code, no.err_code_des);
                Fact::CreateRefused(Failure { err_code, err_code_des })
            }
            CallOutcome::Refused(no) => {
                let message = format!("{}: {}", no.err_code, no.err_code_des);
                self.record_unknown_message(leased, &message, false).await?;
                return self.store.view(&key).await;
            }
            CallOutcome::Unknown(unknown) => {
                self.record_unknown(leased, &unknown).await?;
                return self.store.view(&key).await;
            }
        };
        let settled = self.record_fact_at(leased, fact, Source::Reply, at).await?;
        Ok(settled.view)
    }

    /// Leaves an order that is not entered now to the reconciler; one that is payable already is
    /// not entered there, and is looked at when it would have been. Returns the order as it is.
    pub(crate) async fn defer_create(
        &self,
        leased: &LeasedOrder<'_>,
        deferred: &Deferred,
    ) -> Result<Option<OrderView>, StoreError> {
        match leased.order.state {
            State::Created => self.defer(leased, deferred).await?,
            _ => self.store.defer(leased.order, leased.holder, None, None).await?,
        }
        self.store.view(&leased.order.key()).await
    }

    /// Puts a call off that its merchant's guard does not let through now. Nothing was tried, so
    /// nothing is counted.
    pub(crate) async fn defer(
        &self,
        leased: &LeasedOrder<'_>,
        deferred: &Deferred,
    ) -> Result<(), StoreError> {
        let at = schedule::retry_after_deferral(deferred.pause, Jitter::draw(), clock::now());
        let said = deferred.gateway_message.as_deref();
        self.store.defer(leased.order, leased.holder, Some(at), said).await
    }

    /// Applies a fact that ends the call, and gives its lease back.
    pub(crate) async fn record_fact(
        &self,
        leased: &LeasedOrder<'_>,
        fact: Fact,
        source: Source,
    ) -> Result<Settled, StoreError> {
        self.record_fact_at(leased, fact, source, clock::now()).await
    }

    async fn record_fact_at(
        &self,
        leased: &LeasedOrder<'_>,
        fact: Fact,
        source: Source,
        at: OffsetDateTime,
    ) -> Result<Settled, StoreError> {
        let pay = match &fact {
            Fact::PrepayIssued(Prepay { prepay_id, .. }) => {
                pay::sign(leased.order, prepay_id, leased.merchant, at)
            }
            _ => None,
        };
        let observed = ObservedFact {
            at,
            pay,
            lease_holder: Some(leased.holder),
            traceparent: leased.traceparent.clone(),
            ..ObservedFact::new(leased.order.key(), fact, source)
        };
        let inputs = [SettlementInput::fact(observed)];
        let settled = self.settle_with_retry(&inputs).await?.into_iter().next();
        settled.ok_or_else(|| StoreError::Fault("an input without a result".to_owned()))
    }

    /// What a call has brought is not thrown away because the database hesitates: it is tried
    /// again as long as the lease of the call surely lasts.
    async fn settle_with_retry(
        &self,
        inputs: &[SettlementInput],
    ) -> Result<Vec<Settled>, StoreError> {
        let begun = Instant::now();
        loop {
            match self.settle(inputs).await {
                Err(StoreError::Unavailable(error)) if begun.elapsed() < STORE_RETRY_MAX => {
                    tracing::warn!(%error, "an outcome waits for the database");
                    tokio::time::sleep(STORE_RETRY_PAUSE).await;
                }
                settled => return settled,
            }
        }
    }

    /// Settles, deciding anew when another writer was first.
    pub(crate) async fn settle(
        &self,
        inputs: &[SettlementInput],
    ) -> Result<Vec<Settled>, StoreError> {
        let mut conflicts = 0;
        loop {
            match self.store.settle(inputs).await {
                Err(StoreError::Conflict(_)) if conflicts < CONFLICTS_MAX => conflicts += 1,
                settled => return settled,
            }
        }
    }

    /// Writes down that WeChat's answer says nothing.
    pub(crate) async fn record_unknown(
        &self,
        leased: &LeasedOrder<'_>,
        why: &Unknown,
    ) -> Result<(), StoreError> {
        let failure = matches!(why, Unknown::Communication { .. });
        self.record_unknown_message(leased, &why.to_string(), failure).await
    }

    /// Writes down that the outcome of a call is open.
    pub(crate) async fn record_unknown_message(
        &self,
        leased: &LeasedOrder<'_>,
        message: &str,
        communication_failure: bool,
    ) -> Result<(), StoreError> {
        let key = leased.order.key();
        tracing::warn!(%key, message, "a call has no outcome");
        self.store.record_unknown(leased.order, leased.holder, message, communication_failure).await
    }
}
