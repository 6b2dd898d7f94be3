//! The table `gateway_calls`: every call to WeChat about an order, without secrets.

use orders::OrderKey;
use serde::Serialize;
use time::OffsetDateTime;

use super::{LINES_MAX, Store, StoreError};

/// A call that has ended.
#[derive(Clone, Debug)]
pub(crate) struct GatewayCall<'a> {
    /// `unifiedorder`, `orderquery` or `closeorder`.
    pub(crate) api: &'static str,
    /// `yes`, `no` or `unknown`.
    pub(crate) outcome: &'static str,
    /// WeChat's code or state, or why the outcome is unknown.
    pub(crate) detail: &'a str,
    /// When it began, in UTC.
    pub(crate) at: OffsetDateTime,
    pub(crate) duration_ms: i32,
}

/// A row of the table.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct CallLine {
    /// When the call began.
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) at: OffsetDateTime,
    pub(crate) api: String,
    /// The outcome: `yes`, `no` or `unknown`.
    pub(crate) verdict: String,
    pub(crate) detail: Option<String>,
    pub(crate) duration_ms: i32,
}

impl Store {
    pub(crate) async fn record_call(
        &self,
        key: &OrderKey,
        call: &GatewayCall<'_>,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "/* insert_gateway_call */
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

    /// The calls about a number, oldest first, at most the newest [`LINES_MAX`].
    pub(crate) async fn calls_of(
        &self,
        mch_id: &str,
        out_trade_no: &str,
    ) -> Result<Vec<CallLine>, StoreError> {
        let lines = sqlx::query_as!(
            CallLine,
            "/* calls_of_number */
            select at, api, verdict, detail, duration_ms from gateway_calls
            where mch_id = $1 and out_trade_no = $2 order by at desc, id desc limit $3",
            mch_id,
            out_trade_no,
            LINES_MAX,
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(lines.into_iter().rev().collect())
    }
}
