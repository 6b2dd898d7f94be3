//! What operators watch, read from the tables; and what the tables need not keep for ever.

use time::OffsetDateTime;

use super::{Store, StoreError};

/// The state of the books at one moment.
#[derive(Clone, Debug, Default)]
pub struct Gauges {
    /// Open exceptions by kind.
    pub exceptions: Vec<(String, i64)>,
    /// The age of the oldest order by state, in seconds, for the states that are not settled.
    pub oldest_unsettled_s: Vec<(String, f64)>,
}

/// The orders of one state that are not settled.
#[derive(Clone, Debug)]
pub struct Unsettled {
    /// `created`, `payable` or `closing`.
    pub state: String,
    /// How many there are.
    pub count: i64,
    /// The one that should have been settled first: its merchant,
    pub mch_id: String,
    /// and its number.
    pub out_trade_no: String,
    /// Its age, in seconds.
    pub age_seconds: f64,
    /// How long ago it should have left this state, in seconds; negative while it has time left.
    /// `created` and `closing` are to be left at once, `payable` at the expiry.
    pub late_seconds: f64,
}

/// Rows removed at once; the rest waits for the next round.
const REMOVED_AT_ONCE: i64 = 10_000;

impl Store {
    /// Reads the gauges.
    ///
    /// # Errors
    /// When the store cannot.
    pub async fn gauges(&self) -> Result<Gauges, StoreError> {
        let exceptions = sqlx::query!(
            r#"/* open_exceptions_by_kind */
            select kind, count(*) as "count!" from exceptions where resolved_at is null
            group by kind"#
        )
        .fetch_all(&self.pool)
        .await?;
        let oldest = sqlx::query!(
            r#"/* oldest_unsettled */
            select s.state as "state!", coalesce(extract(epoch from now() - (
                select min(created_at) from orders o
                where o.state = s.state and o.state in ('created', 'payable', 'closing')
            )), 0)::float8 as "seconds!"
            from unnest(array['created', 'payable', 'closing']) as s (state)"#
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(Gauges {
            exceptions: exceptions.into_iter().map(|row| (row.kind, row.count)).collect(),
            oldest_unsettled_s: oldest.into_iter().map(|row| (row.state, row.seconds)).collect(),
        })
    }

    /// For each state that is not settled and has orders, how many, and the one that should have
    /// left it first.
    ///
    /// # Errors
    /// When the store cannot.
    pub async fn unsettled(&self) -> Result<Vec<Unsettled>, StoreError> {
        let rows = sqlx::query_as!(
            Unsettled,
            r#"/* unsettled_by_state */
            select distinct on (state) state, mch_id, out_trade_no,
                count(*) over (partition by state) as "count!",
                extract(epoch from now() - created_at)::float8 as "age_seconds!",
                extract(epoch from now() - due)::float8 as "late_seconds!"
            from orders cross join lateral (select case state
                when 'created' then created_at
                when 'payable' then time_expire
                else closing_since end as due) as expected
            where state in ('created', 'payable', 'closing')
            order by state, due"#
        );
        Ok(rows.fetch_all(&self.pool).await?)
    }

    /// What the server's clock shows.
    ///
    /// # Errors
    /// When the store cannot.
    pub async fn clock(&self) -> Result<OffsetDateTime, StoreError> {
        let now = sqlx::query_scalar!(r#"/* clock */ select clock_timestamp() as "now!""#);
        Ok(now.fetch_one(&self.pool).await?)
    }

    /// Removes evidence whose time is over: calls and confirms after 30 days, rejections after 90.
    ///
    /// # Errors
    /// When the store cannot; it is tried again in the next round.
    pub async fn remove_old(&self) -> Result<u64, StoreError> {
        let calls = sqlx::query!(
            "/* remove_old_calls */
            delete from gateway_calls where id in (
                select id from gateway_calls where at < now() - interval '30 days' limit $1)",
            REMOVED_AT_ONCE,
        )
        .execute(&self.pool)
        .await?;
        let confirms = sqlx::query!(
            "/* remove_old_confirms */
            delete from event_confirms where event_id in (
                select event_id from event_confirms
                where confirmed_at < now() - interval '30 days' limit $1)",
            REMOVED_AT_ONCE,
        )
        .execute(&self.pool)
        .await?;
        let rejections = sqlx::query!(
            "/* remove_old_rejections */
            delete from rejections where (mch_id, message_id) in (
                select mch_id, message_id from rejections
                where at < now() - interval '90 days' limit $1)",
            REMOVED_AT_ONCE,
        )
        .execute(&self.pool)
        .await?;
        Ok(calls.rows_affected() + confirms.rows_affected() + rejections.rows_affected())
    }
}
