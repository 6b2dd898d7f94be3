use super::operator_actions::{self, OperatorAction};
use super::settlement_batch::Settled;
use super::settlement_input::SettlementInput;
use super::{Store, StoreError, notifications, outbox};

impl Store {
    /// The result of [`Store::replay_notification`], without writing anything.
    pub(crate) async fn dry_run_notification(
        &self,
        input: &SettlementInput,
    ) -> Result<Option<Settled>, StoreError> {
        Ok(self.dry_run(&fact_alone(input)).await?.into_iter().next())
    }

    /// Applies the fact of a stored notification, as it is read with today's keys and code, gives
    /// the notification its new status, and records the operator.
    pub(crate) async fn replay_notification(
        &self,
        input: &SettlementInput,
        action: &OperatorAction,
    ) -> Result<Option<Settled>, StoreError> {
        let mut tx = self.pool.begin().await?;
        let uncommitted = self.decide(&mut tx, &fact_alone(input)).await?;
        if let Some(evidence) = input.evidence() {
            let settled = uncommitted.settled.first();
            let status = settled.map_or(evidence.status, |settled| settled.status);
            notifications::update_status(&mut tx, evidence, status).await?;
        }
        outbox::make_due(&mut tx, &uncommitted.outgoing).await?;
        operator_actions::insert(&mut tx, action).await?;
        tx.commit().await?;
        Ok(self.after_commit(uncommitted).into_iter().next())
    }
}

/// The fact without its notification, which is stored already.
fn fact_alone(input: &SettlementInput) -> Vec<SettlementInput> {
    input.observed_fact().cloned().map(SettlementInput::fact).into_iter().collect()
}
