//! Events that wait in the outbox.

use sqlx::Row;

use crate::{Shop, World};

/// An event's row in the outbox.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OutboxAttempts {
    pub attempts: i32,
    /// In seconds since 1970, by the database's clock.
    pub next_attempt_at: f64,
}

impl World {
    /// Stores events of a shop as a worker leaves them that dies before it publishes them. Their
    /// numbers begin with `prefix`. They are due at once.
    pub async fn store_unpublished_events(&self, shop: &Shop, prefix: &str, count: i64) {
        let store = "with events as (
                select gen_random_uuid() as id, $2 || lpad(n::text, 8, '0') as number
                from generate_series(1, $3) as n
            ), stored as (
                insert into rejections
                    (message_id, mch_id, out_trade_no, problem, at, event_id, event_body)
                select id::text, $1, number, '{}', now(), id, json_build_object('id', id,
                    'type', 'order.rejected', 'version', 1, 'mch_id', $1, 'out_trade_no', number)
                from events
            )
            insert into outbox (event_id, cause, type, mch_id, out_trade_no, next_attempt_at)
            select id, 'rejection', 'order.rejected', $1, number, now() from events";
        let store = sqlx::query(store).bind(&shop.mch_id).bind(prefix).bind(count);
        store.execute(&self.environment.pool).await.unwrap();
    }

    /// How many events of a shop wait in the outbox.
    pub async fn outbox_count(&self, shop: &Shop) -> i64 {
        let count = "select count(*) from outbox where mch_id = $1";
        let count = sqlx::query_scalar(count).bind(&shop.mch_id);
        count.fetch_one(&self.environment.pool).await.unwrap()
    }

    /// The rows of an order's events in the outbox.
    pub async fn outbox_attempts(&self, out_trade_no: &str) -> Vec<OutboxAttempts> {
        let rows = "select attempts, extract(epoch from next_attempt_at)::float8
            from outbox where out_trade_no = $1";
        let rows = sqlx::query(rows).bind(out_trade_no).fetch_all(&self.environment.pool);
        let row = |row: &sqlx::postgres::PgRow| OutboxAttempts {
            attempts: row.get(0),
            next_attempt_at: row.get(1),
        };
        rows.await.unwrap().iter().map(row).collect()
    }
}
