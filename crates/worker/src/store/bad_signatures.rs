//! Messages that do not verify can come from anybody: one exception per merchant and hour.

use orders::event;
use sqlx::types::Json;
use time::OffsetDateTime;
use time::macros::format_description;
use uuid::Uuid;
use wechatpay_v2::MchId;

use super::{Outgoing, Store, StoreError};

/// Stands for the number of no order.
const NO_ORDER: &str = "-";

impl Store {
    /// Counts notifications of a merchant that do not verify. The first ones of an hour open the
    /// exception, with one event.
    ///
    /// # Errors
    /// When the store cannot; they are then not counted.
    pub async fn count_bad_signatures(
        &self,
        mch_id: &MchId,
        count: i64,
        at: OffsetDateTime,
    ) -> Result<(), StoreError> {
        let hour = at
            .format(format_description!("[year][month][day][hour]"))
            .map_err(|_| StoreError::Fault("an hour cannot be written".to_owned()))?;
        let event = event::of_bad_signatures(Uuid::now_v7(), mch_id, at);
        let mut tx = self.pool.begin().await?;
        let opened = sqlx::query_scalar!(
            r#"/* count_bad_signatures */
            insert into exceptions as e (mch_id, out_trade_no, kind, transaction_id, differs,
                opened_at, event_id, event_body, found_count)
            values ($1, $2, 'bad_signature', $3, $4, $5, $6, $7, $8)
            on conflict (mch_id, out_trade_no, kind, transaction_id)
                do update set found_count = e.found_count + excluded.found_count
            returning event_id = $6 as "opened!""#,
            mch_id.as_str(),
            NO_ORDER,
            hour,
            Json(serde_json::json!([])) as _,
            at,
            event.id,
            event.body,
            count,
        )
        .fetch_one(&mut *tx)
        .await?;
        if opened {
            sqlx::query!(
                "/* insert_outbox_bad_signature */
                insert into outbox (event_id, cause, type, mch_id, out_trade_no, next_attempt_at)
                values ($1, 'exception', $2, $3, $4, now() + interval '2 seconds')",
                event.id,
                event.kind,
                mch_id.as_str(),
                NO_ORDER,
            )
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        if opened {
            self.outbox.notify([Outgoing { event, traceparent: None }]);
        }
        Ok(())
    }
}
