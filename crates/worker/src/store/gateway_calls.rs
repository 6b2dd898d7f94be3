//! The table `gateway_calls`: every call to WeChat about an order, without secrets.

use orders::OrderKey;
use serde::Serialize;
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::keys::key_columns;
use super::{LINES_MAX, Store, StoreError};

/// A call that has ended, without secrets.
#[derive(Clone, Debug)]
pub(crate) struct CallRecord {
    pub(crate) key: OrderKey,
    /// `unifiedorder`, `orderquery` or `closeorder`.
    pub(crate) api: &'static str,
    /// `yes`, `no` or `unknown`.
    pub(crate) outcome: &'static str,
    /// WeChat's code or state, or why the outcome is unknown.
    pub(crate) detail: String,
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

/// Inserts the calls in their order.
pub(super) async fn insert(
    connection: &mut PgConnection,
    calls: &[CallRecord],
) -> Result<(), StoreError> {
    if calls.is_empty() {
        return Ok(());
    }
    let (mch_ids, numbers) = key_columns(calls.iter().map(|call| &call.key));
    let apis: Vec<String> = calls.iter().map(|call| call.api.to_owned()).collect();
    let outcomes: Vec<String> = calls.iter().map(|call| call.outcome.to_owned()).collect();
    let details: Vec<String> = calls.iter().map(|call| call.detail.clone()).collect();
    let at: Vec<OffsetDateTime> = calls.iter().map(|call| call.at).collect();
    let durations: Vec<i32> = calls.iter().map(|call| call.duration_ms).collect();
    sqlx::query!(
        "/* insert_gateway_calls */
        insert into gateway_calls (mch_id, out_trade_no, api, verdict, detail, at, duration_ms)
        select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[],
            $6::timestamptz[], $7::int4[])",
        &mch_ids,
        &numbers,
        &apis,
        &outcomes,
        &details,
        &at,
        &durations,
    )
    .execute(connection)
    .await?;
    Ok(())
}

impl Store {
    /// Stores calls for which no settlement takes the evidence along. What the store does not take
    /// is lost; the calls count all the same.
    pub(crate) async fn record_calls(&self, calls: Vec<CallRecord>) {
        let stored = async {
            let mut connection = self.pool.acquire().await?;
            insert(&mut connection, &calls).await
        };
        if let Err(error) = stored.await {
            let count = calls.len();
            tracing::warn!(
                %error, count,
                "calls to WeChat could not be recorded; order explain lacks them"
            );
        }
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
