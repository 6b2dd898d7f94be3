//! A call without an outcome is written down too.

use orders::{Exception, ExceptionKind, Order};
use uuid::Uuid;

use super::{ExceptionNotice, SettlementInput, Store, StoreError};
use crate::clock;
use crate::schedule::{self, Jitter};

impl Store {
    /// Writes down that a call's outcome is unknown, gives the lease back, and says when to look
    /// again. `order` is the one that was called about: when it has moved since, only the lease is
    /// given back. When there was no outcome too often in a row, or the same communication failure came
    /// again and again, the exception `unsettled` is opened and the looks become rare.
    ///
    /// # Errors
    /// When the store cannot; the lease then ends by itself.
    pub async fn record_unknown(
        &self,
        order: &Order,
        holder: Uuid,
        gateway_message: &str,
        communication_failure: bool,
    ) -> Result<(), StoreError> {
        let (key, at) = (order.key(), clock::now());
        let mut tx = self.pool.begin().await?;
        let counted = sqlx::query!(
            "/* count_unknown */
            update orders set call_lease_holder = null, call_lease_until = null,
                unknown_count = case when seq = $6 then unknown_count + 1 else unknown_count end,
                same_failure_count = case
                    when seq <> $6 then same_failure_count
                    when not $5 then 0
                    when gateway_message is not distinct from $4 then same_failure_count + 1
                    else 1 end,
                gateway_message = case when seq = $6 then $4 else gateway_message end
            where mch_id = $1 and out_trade_no = $2 and call_lease_holder = $3
            returning seq, unknown_count, same_failure_count",
            key.mch_id.as_str(),
            key.out_trade_no.as_str(),
            holder,
            gateway_message,
            communication_failure,
            order.seq,
        )
        .fetch_optional(&mut *tx)
        .await?;
        let Some(counted) = counted else {
            // The lease had ended and somebody else has it: their outcome counts.
            tx.rollback().await?;
            return Ok(());
        };
        if counted.seq != order.seq {
            // It moved during the call, and whatever moved it knows better.
            tx.commit().await?;
            return Ok(());
        }
        let hopeless = counted.same_failure_count >= schedule::SAME_FAILURES_MAX;
        let count = if hopeless { schedule::UNKNOWN_OUTCOMES_MAX } else { counted.unknown_count };
        sqlx::query!(
            "/* look_after_unknown */
            update orders set next_check_at = $3 where mch_id = $1 and out_trade_no = $2
                and (next_check_at is null or next_check_at > now())",
            key.mch_id.as_str(),
            key.out_trade_no.as_str(),
            schedule::retry_after_unknown(count, &self.schedule, Jitter::draw(), at),
        )
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        if count >= schedule::UNKNOWN_OUTCOMES_MAX {
            let exception = Exception {
                kind: ExceptionKind::Unsettled,
                transaction_id: None,
                differs: Vec::new(),
            };
            let notice = ExceptionNotice { key, exception, at };
            self.settle(&[SettlementInput::Exception(notice)]).await?;
        }
        Ok(())
    }
}
