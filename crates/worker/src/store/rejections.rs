//! The table `rejections`: commands that were refused.

use orders::event::{self, Event};
use orders::{OrderKey, Problem};
use sqlx::types::Json;
use time::OffsetDateTime;
use wechatpay_v2::MchId;

use super::outbox::{self, Cause, OutboxRow, Outgoing};
use super::{Store, StoreError};

impl Store {
    /// Records that a command was refused, with its event. A command that is delivered twice is
    /// refused once. `out_trade_no` is as it was given.
    pub(crate) async fn reject(
        &self,
        message_id: &str,
        mch_id: &MchId,
        out_trade_no: &str,
        problem: &Problem,
        at: OffsetDateTime,
        traceparent: Option<String>,
    ) -> Result<(), StoreError> {
        let event = event::of_rejection(message_id, mch_id, out_trade_no, problem, at);
        let mut tx = self.pool.begin().await?;
        let inserted = insert(&mut tx, message_id, out_trade_no, problem, &event, at).await?;
        let row = OutboxRow {
            out_trade_no: out_trade_no.to_owned(),
            cause: Cause::Rejection,
            outgoing: Outgoing { event, traceparent },
        };
        if inserted {
            outbox::insert(&mut tx, std::slice::from_ref(&row)).await?;
        }
        tx.commit().await?;
        if inserted {
            self.outbox.notify([row.outgoing]);
        }
        Ok(())
    }

    /// The problem of an order's last rejection.
    pub(crate) async fn rejection(&self, key: &OrderKey) -> Result<Option<Problem>, StoreError> {
        let row = sqlx::query!(
            r#"/* last_rejection */
            select problem as "problem: Json<Problem>" from rejections
            where mch_id = $1 and out_trade_no = $2 order by at desc limit 1"#,
            key.mch_id.as_str(),
            key.out_trade_no.as_str(),
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(|row| row.problem.0))
    }
}

async fn insert(
    connection: &mut sqlx::PgConnection,
    message_id: &str,
    out_trade_no: &str,
    problem: &Problem,
    event: &Event,
    at: OffsetDateTime,
) -> Result<bool, StoreError> {
    let done = sqlx::query!(
        "/* insert_rejection */
        insert into rejections (message_id, mch_id, out_trade_no, problem, at, event_id, event_body)
        values ($1, $2, $3, $4, $5, $6, $7) on conflict do nothing",
        message_id,
        event.mch_id.as_str(),
        out_trade_no,
        Json(problem) as _,
        at,
        event.id,
        event.body,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}
