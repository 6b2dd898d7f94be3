//! A kept notification, judged anew.

use super::{Action, Evidence, Item, Settled, Store, StoreError, actions};

impl Store {
    /// What [`Store::replay_notification`] would answer; nothing is written.
    ///
    /// # Errors
    /// Those of [`Store::settle`].
    pub async fn rehearse_notification(&self, item: &Item) -> Result<Option<Settled>, StoreError> {
        Ok(self.rehearse(&without_evidence(item)).await?.into_iter().next())
    }

    /// Applies what a kept notification teaches today, gives it its new verdict unless the old one
    /// is final, and writes down who had it done. It does not count as a repeat: WeChat did not
    /// send it again.
    ///
    /// # Errors
    /// Those of [`Store::settle`].
    pub async fn replay_notification(
        &self,
        item: &Item,
        action: &Action,
    ) -> Result<Option<Settled>, StoreError> {
        let mut tx = self.pool.begin().await?;
        let decided = self.decide(&mut tx, &without_evidence(item)).await?;
        if let Some(evidence) = &item.evidence {
            let settled = decided.settled.first().filter(|_| item.learned.is_some());
            let verdict = settled.map_or(evidence.verdict, |settled| settled.verdict);
            judge_anew(&mut tx, evidence, verdict.as_str()).await?;
        }
        actions::hand_over(&mut tx, &decided).await?;
        actions::write(&mut tx, action).await?;
        tx.commit().await?;
        Ok(self.announce(decided).into_iter().next())
    }
}

fn without_evidence(item: &Item) -> Vec<Item> {
    let teaches = item.learned.is_some();
    teaches.then(|| Item { evidence: None, ..item.clone() }).into_iter().collect()
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
