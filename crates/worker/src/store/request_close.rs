use orders::{Fact, OrderKey, OrderView, Source, StateName};

use super::operator_actions::{self, OperatorAction};
use super::settlement_input::{ObservedFact, SettlementInput};
use super::{Store, StoreError, outbox};

impl Store {
    /// Requests the close of an order on behalf of an operator, and returns the order afterwards.
    /// Returns `None` for an unknown order. A paid order is returned as it is, and nothing is
    /// written.
    pub(crate) async fn request_close(
        &self,
        key: &OrderKey,
        action: &OperatorAction,
    ) -> Result<Option<OrderView>, StoreError> {
        let fact = ObservedFact::new(key.clone(), Fact::CloseRequested, Source::Operator);
        let mut tx = self.pool.begin().await?;
        // A fact about an unknown order would open an exception.
        if super::orders::find(&mut tx, key).await?.is_none() {
            tx.rollback().await?;
            return Ok(None);
        }
        let uncommitted = self.decide(&mut tx, &[SettlementInput::fact(fact)]).await?;
        let view = uncommitted.settled.first().and_then(|settled| settled.view.clone());
        if view.as_ref().is_some_and(|view| view.state == StateName::Paid) {
            tx.rollback().await?;
            return Ok(view);
        }
        outbox::make_due(&mut tx, &uncommitted.outgoing).await?;
        operator_actions::insert(&mut tx, action).await?;
        tx.commit().await?;
        self.after_commit(uncommitted);
        Ok(view)
    }
}
