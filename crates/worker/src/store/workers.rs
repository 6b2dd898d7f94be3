//! The table `workers`: the workers that run, and the rates of their calls.

use std::collections::BTreeMap;

use sqlx::types::Json;
use uuid::Uuid;

use super::{Store, StoreError};

/// A worker whose row is older does not run, or has no database.
const SEEN_WITHIN_SECONDS: f64 = 10.0;

/// Calls to WeChat a second, by `mch_id`.
pub(crate) type Rates = BTreeMap<String, u32>;

impl Store {
    /// Reports that this worker runs. Returns how many do.
    pub(crate) async fn report_worker(&self, id: Uuid, rates: &Rates) -> Result<u32, StoreError> {
        let count = sqlx::query_scalar!(
            r#"/* report_worker */
            with gone as (delete from workers where seen_at < now() - interval '1 minute'),
            mine as (
                insert into workers (id, seen_at, rates) values ($1, now(), $2)
                on conflict (id) do update set seen_at = excluded.seen_at, rates = excluded.rates
            )
            select count(*) + 1 as "count!" from workers
            where id <> $1 and seen_at > now() - make_interval(secs => $3)"#,
            id,
            Json(rates) as _,
            SEEN_WITHIN_SECONDS,
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(u32::try_from(count).unwrap_or(u32::MAX))
    }

    /// Removes the row of a worker that stops.
    pub(crate) async fn remove_worker(&self, id: Uuid) -> Result<(), StoreError> {
        sqlx::query!("/* remove_worker */ delete from workers where id = $1", id)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// The rates of each worker that runs.
    pub(crate) async fn worker_rates(&self) -> Result<Vec<Rates>, StoreError> {
        let rows = sqlx::query_scalar!(
            r#"/* worker_rates */
            select rates as "rates: Json<Rates>" from workers
            where seen_at > now() - make_interval(secs => $1)"#,
            SEEN_WITHIN_SECONDS,
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|rates| rates.0).collect())
    }
}
