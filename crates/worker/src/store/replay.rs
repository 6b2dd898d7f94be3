//! A kept notification, judged anew.

use super::{Action, Evidence, Settled, SettlementInput, Store, StoreError, actions};

impl Store {
    /// What [`Store::replay_notification`] would answer; nothing is written.
    ///
    /// # Errors
    /// Those of [`Store::settle`].
    pub async fn dry_run_notification(
        &self,
        input: &SettlementInput,
    ) -> Result<Option<Settled>, StoreError> {
        Ok(self.dry_run(&fact_alone(input)).await?.into_iter().next())
    }

    /// Applies what a kept notification says with today's keys and code, gives it its new status
    /// unless the old one is final, and records the operator. It does not count as a repeat:
    /// WeChat did not send it again.
    ///
    /// # Errors
    /// Those of [`Store::settle`].
    pub async fn replay_notification(
        &self,
        input: &SettlementInput,
        action: &Action,
    ) -> Result<Option<Settled>, StoreError> {
        let mut tx = self.pool.begin().await?;
        let decided = self.decide(&mut tx, &fact_alone(input)).await?;
        if let Some(evidence) = input.evidence() {
            let settled = decided.settled.first();
            let status = settled.map_or(evidence.status, |settled| settled.status);
            judge_anew(&mut tx, evidence, status.as_str()).await?;
        }
        actions::hand_over(&mut tx, &decided).await?;
        actions::write(&mut tx, action).await?;
        tx.commit().await?;
        Ok(self.announce(decided).into_iter().next())
    }
}

/// The fact without its notification, which is stored already.
fn fact_alone(input: &SettlementInput) -> Vec<SettlementInput> {
    input.observed_fact().cloned().map(SettlementInput::fact).into_iter().collect()
}

async fn judge_anew(
    connection: &mut sqlx::PgConnection,
    evidence: &Evidence,
    verdict: &str,
) -> Result<(), StoreError> {
    sqlx::query!(
        "/* judge_notification_anew */
        update notifications set
            verdict = case when verdict in ('applied', 'already') then verdict else $2 end,
            detail = case when verdict in ('applied', 'already') then detail else $3 end,
            out_trade_no = coalesce(out_trade_no, $4),
            transaction_id = coalesce(transaction_id, $5)
        where digest = $1",
        &evidence.digest[..],
        verdict,
        evidence.detail,
        evidence.out_trade_no,
        evidence.transaction_id,
    )
    .execute(connection)
    .await?;
    Ok(())
}
