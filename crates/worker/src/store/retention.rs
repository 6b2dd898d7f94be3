//! Old rows that the tables need not keep.

use super::{Store, StoreError};

/// Rows removed by one statement; the rest waits for the next run.
const ROWS_MAX: i64 = 10_000;

impl Store {
    /// Removes gateway calls and event confirms after 30 days, and rejections after 90.
    pub(crate) async fn remove_old(&self) -> Result<u64, StoreError> {
        let calls = sqlx::query!(
            "/* remove_old_calls */
            delete from gateway_calls where id in (
                select id from gateway_calls where at < now() - interval '30 days' limit $1)",
            ROWS_MAX,
        )
        .execute(&self.pool)
        .await?;
        let confirms = sqlx::query!(
            "/* remove_old_confirms */
            delete from event_confirms where event_id in (
                select event_id from event_confirms
                where confirmed_at < now() - interval '30 days' limit $1)",
            ROWS_MAX,
        )
        .execute(&self.pool)
        .await?;
        let rejections = sqlx::query!(
            "/* remove_old_rejections */
            delete from rejections where (mch_id, message_id) in (
                select mch_id, message_id from rejections
                where at < now() - interval '90 days' limit $1)",
            ROWS_MAX,
        )
        .execute(&self.pool)
        .await?;
        Ok(calls.rows_affected() + confirms.rows_affected() + rejections.rows_affected())
    }
}
