use orders::{Exception, ExceptionKind, Order};
use uuid::Uuid;

use super::settlement_input::{ExceptionNotice, SettlementInput};
use super::{Store, StoreError};
use crate::clock;
use crate::schedule::{self, Jitter};

impl Store {
    /// Records that the outcome of a call is unknown, releases the lease, and schedules the next
    /// check. `order` is the one that the call was about: when it has moved since, only the lease
    /// is released. After too many unknown outcomes in a row, or after the same communication
    /// failure again and again, the exception `unsettled` is opened and the checks become rare.
    pub(crate) async fn record_unknown(
        &self,
        order: &Order,
        holder: Uuid,
        gateway_message: &str,
        communication_failure: bool,
    ) -> Result<(), StoreError> {
        let key = order.key();
        let at = clock::now();
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
            // The lease had expired and another worker has it: the outcome of its call counts.
            tx.rollback().await?;
            return Ok(());
        };
        if counted.seq != order.seq {
            // The order moved during the call, and the move has scheduled its next check.
            tx.commit().await?;
            return Ok(());
        }
        let hopeless = counted.same_failure_count >= schedule::SAME_FAILURES_MAX;
        let count = if hopeless { schedule::UNKNOWN_OUTCOMES_MAX } else { counted.unknown_count };
        sqlx::query!(
            "/* schedule_check_after_unknown */
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
