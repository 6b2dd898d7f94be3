//! Every call to WeChat about an order, as evidence without secrets.

use orders::OrderKey;
use time::OffsetDateTime;

use super::{Store, StoreError};

/// One call, as it ended.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    /// `unifiedorder`, `orderquery` or `closeorder`.
    pub api: &'static str,
    /// `yes`, `no` or `unknown`.
    pub outcome: &'static str,
    /// WeChat's code or state, or why nothing is known.
    pub detail: &'a str,
    /// When it was begun, in UTC.
    pub at: OffsetDateTime,
    /// How long it took, in milliseconds.
    pub duration_ms: i32,
}

impl Store {
    /// Keeps a call.
    ///
    /// # Errors
    /// When the store cannot.
    pub async fn record_call(&self, key: &OrderKey, call: &Call<'_>) -> Result<(), StoreError> {
        sqlx::query!(
            "/* keep_call */
            insert into gateway_calls (mch_id, out_trade_no, api, verdict, detail, at, duration_ms)
            values ($1, $2, $3, $4, $5, $6, $7)",
            key.mch_id.as_str(),
            key.out_trade_no.as_str(),
            call.api,
            call.outcome,
            call.detail,
            call.at,
            call.duration_ms,
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}
