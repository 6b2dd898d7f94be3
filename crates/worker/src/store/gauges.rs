//! Figures that operators watch, read from the tables.

use super::{Store, StoreError};

/// Merchants that one gauge names. More of them are a fault of the broker, not of their queues.
const WAITING_MERCHANTS_MAX: i64 = 100;

#[derive(Clone, Debug, Default)]
pub(crate) struct Gauges {
    /// Open exceptions by kind.
    pub(crate) exceptions: Vec<(String, i64)>,
    /// The age in seconds of the oldest order in each open state: `created`, `payable`, `closing`.
    pub(crate) oldest_open_seconds: Vec<(String, f64)>,
}

/// The orders of one open state.
#[derive(Clone, Debug)]
pub(crate) struct OpenOrders {
    /// `created`, `payable` or `closing`.
    pub(crate) state: String,
    pub(crate) count: i64,
    /// The merchant of the order that is the most overdue.
    pub(crate) mch_id: String,
    /// The number of that order.
    pub(crate) out_trade_no: String,
    pub(crate) age_seconds: f64,
    /// How long ago that order should have left its state; negative while it has time left. An
    /// order leaves `created` and `closing` at once, and `payable` when it expires.
    pub(crate) overdue_seconds: f64,
}

impl Store {
    pub(crate) async fn gauges(&self) -> Result<Gauges, StoreError> {
        let exceptions = sqlx::query!(
            r#"/* open_exceptions_by_kind */
            select kind, count(*) as "count!" from exceptions where resolved_at is null
            group by kind"#
        )
        .fetch_all(&self.pool)
        .await?;
        let oldest = sqlx::query!(
            r#"/* oldest_open_orders */
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
            oldest_open_seconds: oldest.into_iter().map(|row| (row.state, row.seconds)).collect(),
        })
    }

    /// The merchants whose queue has refused events or not confirmed them in time, each with the
    /// number of all its events that wait.
    pub(crate) async fn waiting_events(&self) -> Result<Vec<(String, i64)>, StoreError> {
        let rows = sqlx::query!(
            r#"/* events_waiting_by_merchant */
            select m.mch_id as "mch_id!",
                (select count(*) from outbox o where o.mch_id = m.mch_id) as "count!"
            from (select distinct mch_id from outbox where attempts > 0
                order by mch_id limit $1) as m"#,
            WAITING_MERCHANTS_MAX,
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|row| (row.mch_id, row.count)).collect())
    }

    /// The orders of each open state that has orders.
    pub(crate) async fn open_orders(&self) -> Result<Vec<OpenOrders>, StoreError> {
        let rows = sqlx::query_as!(
            OpenOrders,
            r#"/* open_orders_by_state */
            select distinct on (state) state, mch_id, out_trade_no,
                count(*) over (partition by state) as "count!",
                extract(epoch from now() - created_at)::float8 as "age_seconds!",
                extract(epoch from now() - due)::float8 as "overdue_seconds!"
            from orders cross join lateral (select case state
                when 'created' then created_at
                when 'payable' then time_expire
                else closing_since end as due) as expected
            where state in ('created', 'payable', 'closing')
            order by state, due"#
        );
        Ok(rows.fetch_all(&self.pool).await?)
    }
}
