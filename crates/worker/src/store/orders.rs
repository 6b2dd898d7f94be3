//! The table `orders`, except for the columns of the call lease.

mod columns;
mod row;

use std::collections::HashMap;

use orders::{ExceptionView, Order, OrderKey, OrderView};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;
use wechatpay_v2::Fields;

use super::keys::{key_columns, parse_key};
use super::{Store, StoreError, exceptions};
use columns::OrderUpdates;

pub(super) use columns::OrderChange;
pub(super) use row::Row;
pub(crate) use row::StoredOrder;

impl Store {
    pub(crate) async fn find(&self, key: &OrderKey) -> Result<Option<StoredOrder>, StoreError> {
        find(&mut *self.pool.acquire().await?, key).await
    }

    /// The order as clients see it, without the second signature.
    pub(crate) async fn view(&self, key: &OrderKey) -> Result<Option<OrderView>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let Some(stored) = find(&mut connection, key).await? else {
            return Ok(None);
        };
        let existing = exceptions::existing(&mut connection, std::slice::from_ref(key)).await?;
        let open = existing.into_values().flatten().filter(|exception| exception.open);
        let open = open.map(|it| ExceptionView { kind: it.kind, opened_at: it.opened_at });
        Ok(Some(OrderView::of(&stored.order, open.collect(), None)))
    }

    /// Those of the keys whose orders exist and can still change: neither `paid` nor `failed`. It
    /// is one query for all keys, because a forger can name any number of orders.
    pub(crate) async fn filter_non_terminal(
        &self,
        keys: &[OrderKey],
    ) -> Result<Vec<OrderKey>, StoreError> {
        let (mch_ids, numbers) = key_columns(keys);
        let positions = sqlx::query_scalar!(
            r#"/* filter_non_terminal_orders */
            select named.position as "position!"
            from unnest($1::text[], $2::text[]) with ordinality
                as named (mch_id, out_trade_no, position)
            join orders using (mch_id, out_trade_no)
            where orders.state in ('created', 'payable', 'closing', 'closed')"#,
            &mch_ids,
            &numbers,
        )
        .fetch_all(&self.pool)
        .await?;
        let indexes = positions.into_iter().filter_map(|it| usize::try_from(it - 1).ok());
        Ok(indexes.filter_map(|index| keys.get(index)).cloned().collect())
    }
}

/// Reads one order without locking it.
pub(super) async fn find(
    connection: &mut PgConnection,
    key: &OrderKey,
) -> Result<Option<StoredOrder>, StoreError> {
    let row = sqlx::query_as!(
        Row,
        r#"/* find_order */
        select sign_type, request as "request: _", time_expire, parameters as "parameters: _",
            state, seq, prepay_id, code_url, mweb_url, prepay_issued_at, payment as "payment: _",
            closing_since, closed_at, err_code, err_code_des, gateway_message, call_lease_holder,
            created_at, updated_at
        from orders where mch_id = $1 and out_trade_no = $2"#,
        key.mch_id.as_str(),
        key.out_trade_no.as_str(),
    )
    .fetch_optional(connection)
    .await?;
    row.map(Row::read).transpose()
}

/// Locks the orders of a batch in the order of their keys, which is the same in every worker, so
/// that two batches never wait for each other in a circle.
pub(super) async fn lock(
    connection: &mut PgConnection,
    keys: &[OrderKey],
) -> Result<Vec<StoredOrder>, StoreError> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let (mch_ids, numbers) = key_columns(keys);
    let rows = sqlx::query_as!(
        Row,
        r#"/* lock_orders */
        select sign_type, request as "request: _", time_expire, parameters as "parameters: _",
            state, seq, prepay_id, code_url, mweb_url, prepay_issued_at, payment as "payment: _",
            closing_since, closed_at, err_code, err_code_des, gateway_message, call_lease_holder,
            created_at, updated_at
        from orders
        where (mch_id, out_trade_no) in (select * from unnest($1::text[], $2::text[]))
        order by mch_id, out_trade_no
        for update"#,
        &mch_ids,
        &numbers,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Row::read).collect()
}

/// The orders on which these transactions are booked.
pub(super) async fn booked(
    connection: &mut PgConnection,
    transactions: &[String],
) -> Result<HashMap<String, OrderKey>, StoreError> {
    if transactions.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query!(
        r#"/* booked_transactions */
        select transaction_id as "transaction_id!", mch_id, out_trade_no from orders
        where transaction_id = any($1)"#,
        transactions,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| Ok((row.transaction_id, parse_key(row.mch_id, row.out_trade_no)?)))
        .collect()
}

/// Inserts an order together with its call lease. Returns `false` when the number exists already.
pub(super) async fn insert(
    connection: &mut PgConnection,
    order: &Order,
    parameters: &Fields,
    lease_holder: Uuid,
    lease_seconds: f64,
) -> Result<bool, StoreError> {
    let request = &order.request;
    let done = sqlx::query!(
        "/* insert_order */
        insert into orders (mch_id, out_trade_no, appid, trade_type, total_fee, sign_type, request,
            time_expire, parameters, state, seq, call_lease_holder, call_lease_until,
            next_check_at, created_at, updated_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'created', $10, $11,
            now() + make_interval(secs => $12), now() + make_interval(secs => $12), $13, $13)
        on conflict do nothing",
        request.mch_id.as_str(),
        request.out_trade_no.as_str(),
        request.appid.as_str(),
        request.trade_type.as_str(),
        request.total_fee.get(),
        order.sign_type.as_str(),
        Json(request) as _,
        order.time_expire,
        Json(parameters) as _,
        order.seq,
        lease_holder,
        lease_seconds,
        order.created_at,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Writes changed orders, each only where its row is still as it was locked, and releases the call
/// leases that end with the changes.
pub(super) async fn update(
    connection: &mut PgConnection,
    changes: &[OrderChange<'_>],
) -> Result<(), StoreError> {
    if changes.is_empty() {
        return Ok(());
    }
    let columns = OrderUpdates::of(changes);
    if columns.update(connection).await? != changes.len() as u64 {
        return Err(StoreError::Conflict("state"));
    }
    Ok(())
}
