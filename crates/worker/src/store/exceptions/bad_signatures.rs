//! Anyone can send notifications that do not verify, so they share one exception per merchant and
//! hour.

use orders::event;
use sqlx::types::Json;
use time::OffsetDateTime;
use time::macros::format_description;
use uuid::Uuid;
use wechatpay_v2::MchId;

use crate::store::outbox::{self, Cause, OutboxRow, Outgoing};
use crate::store::{Store, StoreError};

/// The `out_trade_no` of an exception without an order.
const NO_ORDER: &str = "-";

impl Store {
    /// Counts notifications to a merchant that do not verify. The first of an hour opens the
    /// exception, with one event.
    pub(crate) async fn count_bad_signatures(
        &self,
        mch_id: &MchId,
        count: i64,
        at: OffsetDateTime,
    ) -> Result<(), StoreError> {
        let hour = at
            .format(format_description!("[year][month][day][hour]"))
            .map_err(|_| StoreError::Fault("an hour cannot be formatted".to_owned()))?;
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
        let row = OutboxRow {
            out_trade_no: NO_ORDER.to_owned(),
            cause: Cause::Exception,
            outgoing: Outgoing { event, traceparent: None },
        };
        if opened {
            outbox::insert(&mut tx, std::slice::from_ref(&row)).await?;
        }
        tx.commit().await?;
        if opened {
            self.outbox.notify([row.outgoing]);
        }
        Ok(())
    }
}
