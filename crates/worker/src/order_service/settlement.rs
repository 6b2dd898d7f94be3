//! Writes outcomes to the store.

use std::time::{Duration, Instant};

use orders::{Fact, Source};
use time::OffsetDateTime;
use tracing::{Instrument, info_span};
use wechatpay_v2::unifiedorder::Prepay;
use wechatpay_v2::{Refused, Unknown};

use super::{LeasedOrder, OrderService};
use crate::store::{ObservedFact, Settled, SettlementInput, StoreError};
use crate::{clock, pay};

/// With the wait for a token (2 s) and the call (8 s) before it, and the last attempt's 10 s after
/// it, within the lease of 30 s.
const RETRY_TIMEOUT: Duration = Duration::from_secs(8);
const RETRY_PAUSE: Duration = Duration::from_millis(250);
/// How often a settlement that meets another writer is decided again before it fails.
const CONFLICTS_MAX: usize = 3;

impl OrderService {
    /// Applies a fact that a call brought, and releases the lease of the call.
    pub(crate) async fn record_fact(
        &self,
        leased: &LeasedOrder<'_>,
        fact: Fact,
        source: Source,
    ) -> Result<Settled, StoreError> {
        self.record_fact_at(leased, fact, source, clock::now()).await
    }

    pub(super) async fn record_fact_at(
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
        self.settle_with_retry(&SettlementInput::fact(observed)).await
    }

    /// The outcome of a call is not lost when the database is away for a moment: it is tried again
    /// while the lease of the call surely lasts.
    async fn settle_with_retry(&self, input: &SettlementInput) -> Result<Settled, StoreError> {
        let started = Instant::now();
        loop {
            match self.settle_one(input.clone()).await {
                Err(StoreError::Unavailable(error)) if started.elapsed() < RETRY_TIMEOUT => {
                    tracing::warn!(%error, "the database is away; the outcome of a call is tried again");
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
                settled => return settled,
            }
        }
    }

    /// Settles together with others of the same moment.
    pub(crate) async fn settle_one(&self, input: SettlementInput) -> Result<Settled, StoreError> {
        self.writer.settle(input).await
    }

    /// Settles in one transaction. Decides again when another writer was faster.
    pub(crate) async fn settle(
        &self,
        inputs: &[SettlementInput],
    ) -> Result<Vec<Settled>, StoreError> {
        let settle = async {
            let mut conflicts = 0;
            loop {
                match self.store.settle(inputs).await {
                    Err(StoreError::Conflict(_)) if conflicts < CONFLICTS_MAX => conflicts += 1,
                    settled => return settled,
                }
            }
        };
        settle.instrument(info_span!("settle", count = inputs.len())).await
    }

    /// Releases the lease after a call that brought an answer but no fact, and schedules the next
    /// check (`None`: no further check).
    pub(crate) async fn reschedule(
        &self,
        leased: &LeasedOrder<'_>,
        at: Option<OffsetDateTime>,
    ) -> Result<(), StoreError> {
        self.writer.store_calls().await;
        self.store.release_lease_and_reschedule(leased.order, leased.holder, at).await
    }

    /// Returns when the calls so far are stored as evidence, or could not be.
    pub(crate) async fn store_calls(&self) {
        self.writer.store_calls().await;
    }

    /// Records that a call has no outcome: no authentic answer arrived.
    pub(crate) async fn record_unknown(
        &self,
        leased: &LeasedOrder<'_>,
        unknown: &Unknown,
    ) -> Result<(), StoreError> {
        let is_communication_failure = matches!(unknown, Unknown::Communication { .. });
        self.record_no_outcome(leased, &unknown.to_string(), is_communication_failure).await
    }

    /// Records that a call has no outcome: the refusal does not tell the order's state.
    pub(crate) async fn record_inconclusive(
        &self,
        leased: &LeasedOrder<'_>,
        refused: &Refused,
    ) -> Result<(), StoreError> {
        self.record_no_outcome(leased, &refused.to_string(), false).await
    }

    async fn record_no_outcome(
        &self,
        leased: &LeasedOrder<'_>,
        gateway_message: &str,
        is_communication_failure: bool,
    ) -> Result<(), StoreError> {
        tracing::warn!(
            gateway_message,
            "a call to WeChat has no outcome; the reconciler queries it"
        );
        self.writer.store_calls().await;
        let store = &self.store;
        store
            .record_unknown(leased.order, leased.holder, gateway_message, is_communication_failure)
            .await
    }
}
