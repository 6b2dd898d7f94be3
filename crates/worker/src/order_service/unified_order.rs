//! The unifiedorder call and its outcomes.

use orders::{Fact, Failure, OrderView, Source, State};
use wechatpay_v2::{Advice, CallOutcome, Fields, Refused};

use super::{LeasedOrder, OrderService};
use crate::clock;
use crate::gateway::{Admission, Deferred};
use crate::schedule::{self, Jitter};
use crate::store::{DeferredFirstCall, StoreError};

impl OrderService {
    /// Sends the first unifiedorder, or sends it again byte for byte, and records the outcome, an
    /// unknown one included. Returns the order after that.
    pub(crate) async fn call_unifiedorder(
        &self,
        leased: &LeasedOrder<'_>,
        parameters: &Fields,
        admission: Option<Admission>,
    ) -> Result<Option<OrderView>, StoreError> {
        let credentials = leased.merchant.credentials(leased.order.sign_type);
        let key = leased.order.key();
        // The outcome is as old as the call: an answer that was long under way must not count as
        // newer than what happened meanwhile.
        let at = clock::now();
        let outcome =
            match self.gateway.unifiedorder(&key, &credentials, parameters, admission).await {
                Ok(outcome) => outcome,
                Err(deferred) => return self.defer_create(leased, &deferred).await,
            };
        let fact = match outcome {
            CallOutcome::Success(prepay) => Fact::PrepayIssued(prepay),
            CallOutcome::Refused(refused) if is_final(&refused) => {
                tracing::warn!(err_code = refused.err_code, "WeChat refused the order");
                Fact::CreateRefused(Failure {
                    err_code: refused.err_code,
                    err_code_des: refused.err_code_des,
                })
            }
            CallOutcome::Refused(refused) => {
                self.record_inconclusive(leased, &refused).await?;
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

    /// Leaves an order that is not created at WeChat now to the reconciler. A payable order whose
    /// `prepay_id` is not renewed now keeps its next check. Returns the order as it is.
    async fn defer_create(
        &self,
        leased: &LeasedOrder<'_>,
        deferred: &Deferred,
    ) -> Result<Option<OrderView>, StoreError> {
        match leased.order.state {
            State::Created if leased.is_first_call => {
                let deferred = DeferredFirstCall {
                    key: leased.order.key(),
                    holder: leased.holder,
                    seq: leased.order.seq,
                    gateway_message: deferred.gateway_message.clone(),
                };
                self.writer.defer_first_call(deferred).await?;
            }
            State::Created => self.defer(leased, deferred).await?,
            _ => self.store.defer(leased.order, leased.holder, None, None).await?,
        }
        self.store.view(&leased.order.key()).await
    }

    /// Postpones a call that the merchant's limiter does not permit now. No call was made, so no
    /// attempt is counted.
    pub(crate) async fn defer(
        &self,
        leased: &LeasedOrder<'_>,
        deferred: &Deferred,
    ) -> Result<(), StoreError> {
        let at = schedule::retry_after_deferral(deferred.pause, Jitter::draw(), clock::now());
        self.writer.store_calls().await;
        let message = deferred.gateway_message.as_deref();
        self.store.defer(leased.order, leased.holder, Some(at), message).await
    }
}

fn is_final(refused: &Refused) -> bool {
    matches!(refused.advice, Advice::FixRequest | Advice::NumberUnusable)
}
