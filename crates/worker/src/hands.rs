//! What every handler works with, and what each of them does at the gateway.

use std::time::{Duration, Instant};

use orders::{Fact, Failure, Order, OrderView, Source, State};
use time::OffsetDateTime;
use uuid::Uuid;
use wechatpay_v2::unifiedorder::Prepay;
use wechatpay_v2::{Advice, Fields, Unknown, Verdict};

use crate::gateway::{Deferred, Gateway};
use crate::merchants::{Merchant, Merchants};
use crate::reconcile::Patience;
use crate::reconcile::plan::{self, Jitter};
use crate::store::{ObservedFact, Settled, SettlementInput, Store, StoreError};
use crate::{clock, pay};

/// With the wait for the call's turn (2 s) and the call (8 s) before it, and the last attempt's 10 s
/// after it, within the lease of 30 s.
const STORE_WITHIN: Duration = Duration::from_secs(8);
const STORE_PAUSE: Duration = Duration::from_millis(250);
/// A settlement that meets another writer is decided anew this often before it is put back.
const CONFLICTS_MAX: usize = 3;

/// The store, the keys and the gateway.
#[derive(Clone, Debug)]
pub(crate) struct Hands {
    pub(crate) store: Store,
    pub(crate) merchants: Merchants,
    pub(crate) gateway: Gateway,
    pub(crate) patience: Patience,
}

/// A call of ours about an order, under its lease.
#[derive(Clone, Debug)]
pub(crate) struct Turn<'a> {
    pub(crate) merchant: &'a Merchant,
    pub(crate) order: &'a Order,
    pub(crate) holder: Uuid,
    pub(crate) traceparent: Option<String>,
}

impl Hands {
    /// Sends the first unifiedorder, or sends it again byte for byte, and writes the outcome down,
    /// *unknown* included. Returns the order as it is then.
    pub(crate) async fn enter(
        &self,
        turn: &Turn<'_>,
        parameters: &Fields,
    ) -> Result<Option<OrderView>, StoreError> {
        let by = turn.merchant.credentials(turn.order.sign_type);
        let key = turn.order.key();
        // What a call brings is as old as the call: an answer that was long on its way must not
        // pass for the newest.
        let at = clock::now();
        let verdict = match self.gateway.unifiedorder(&self.store, &key, &by, parameters).await {
            Ok(verdict) => verdict,
            Err(deferred) => return self.put_off_entering(turn, &deferred).await,
        };
        let fact = match verdict {
            Verdict::Yes(prepay) => Fact::PrepayIssued(prepay),
            Verdict::No(no) if matches!(no.advice, Advice::Mend | Advice::NumberIsDead) => {
                tracing::warn!(%key, err_code = no.err_code, "WeChat refused the order");
                let (err_code, err_code_des) = (no.err_code, no.err_code_des);
                Fact::CreateRefused(Failure { err_code, err_code_des })
            }
            Verdict::No(no) => {
                let message = format!("{}: {}", no.err_code, no.err_code_des);
                self.unknown(turn, &message, false).await?;
                return self.store.view(&key).await;
            }
            Verdict::Unknown(unknown) => {
                self.unclear(turn, &unknown).await?;
                return self.store.view(&key).await;
            }
        };
        let settled = self.learn_as_of(turn, fact, Source::Reply, at).await?;
        Ok(settled.view)
    }

    /// Leaves an order that is not entered now to the reconciler; one that is payable already is
    /// not entered there, and is looked at when it would have been. Returns the order as it is.
    pub(crate) async fn put_off_entering(
        &self,
        turn: &Turn<'_>,
        deferred: &Deferred,
    ) -> Result<Option<OrderView>, StoreError> {
        match turn.order.state {
            State::Created => self.put_off(turn, deferred).await?,
            _ => self.store.defer(turn.order, turn.holder, None, None).await?,
        }
        self.store.view(&turn.order.key()).await
    }

    /// Puts a call off that its merchant's guard does not let through now. Nothing was tried, so
    /// nothing is counted.
    pub(crate) async fn put_off(
        &self,
        turn: &Turn<'_>,
        deferred: &Deferred,
    ) -> Result<(), StoreError> {
        let at = plan::after_pause(deferred.pause, Jitter::draw(), clock::now());
        let said = deferred.gateway_message.as_deref();
        self.store.defer(turn.order, turn.holder, Some(at), said).await
    }

    /// Applies a fact that ends the turn, and gives its lease back.
    pub(crate) async fn learn(
        &self,
        turn: &Turn<'_>,
        fact: Fact,
        source: Source,
    ) -> Result<Settled, StoreError> {
        self.learn_as_of(turn, fact, source, clock::now()).await
    }

    async fn learn_as_of(
        &self,
        turn: &Turn<'_>,
        fact: Fact,
        source: Source,
        at: OffsetDateTime,
    ) -> Result<Settled, StoreError> {
        let pay = match &fact {
            Fact::PrepayIssued(Prepay { prepay_id, .. }) => {
                pay::sign(turn.order, prepay_id, turn.merchant, at)
            }
            _ => None,
        };
        let observed = ObservedFact {
            at,
            pay,
            lease_holder: Some(turn.holder),
            traceparent: turn.traceparent.clone(),
            ..ObservedFact::new(turn.order.key(), fact, source)
        };
        let inputs = [SettlementInput::fact(observed)];
        let settled = self.settle_patiently(&inputs).await?.into_iter().next();
        settled.ok_or_else(|| StoreError::Fault("an input without a result".to_owned()))
    }

    /// What a call has brought is not thrown away because the database hesitates: it is tried
    /// again as long as the lease of the call surely lasts.
    async fn settle_patiently(
        &self,
        inputs: &[SettlementInput],
    ) -> Result<Vec<Settled>, StoreError> {
        let begun = Instant::now();
        loop {
            match self.settle(inputs).await {
                Err(StoreError::Unavailable(error)) if begun.elapsed() < STORE_WITHIN => {
                    tracing::warn!(%error, "an outcome waits for the database");
                    tokio::time::sleep(STORE_PAUSE).await;
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
    pub(crate) async fn unclear(&self, turn: &Turn<'_>, why: &Unknown) -> Result<(), StoreError> {
        let failure = matches!(why, Unknown::Communication { .. });
        self.unknown(turn, &why.to_string(), failure).await
    }

    /// Writes down that the outcome of a call is open.
    pub(crate) async fn unknown(
        &self,
        turn: &Turn<'_>,
        message: &str,
        communication_failure: bool,
    ) -> Result<(), StoreError> {
        let key = turn.order.key();
        tracing::warn!(%key, message, "a call has no outcome");
        self.store.record_unknown(turn.order, turn.holder, message, communication_failure).await
    }
}
