//! The table `orders`, except for the columns of the call lease.

mod columns;
mod inserts;
mod row;

use std::collections::{HashMap, HashSet};

use orders::{ExceptionView, OrderKey, OrderView};
use sqlx::PgConnection;

use super::keys::{key_columns, parse_key};
use super::{Store, StoreError, exceptions};
use columns::OrderUpdates;
use inserts::OrderInserts;

pub(super) use columns::OrderChange;
pub(crate) use inserts::Acceptance;
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

/// Inserts orders, each with its call lease if it has a holder. Returns the keys that were not there
/// yet.
pub(super) async fn insert(
    connection: &mut PgConnection,
    new: &[Acceptance],
    lease_seconds: f64,
) -> Result<HashSet<OrderKey>, StoreError> {
    let columns = OrderInserts::of(new);
    let rows = sqlx::query!(
        "/* insert_orders */
        insert into orders (mch_id, out_trade_no, appid, trade_type, total_fee, sign_type, request,
            time_expire, parameters, state, seq, gateway_message, created_at, updated_at,
            call_lease_holder, call_lease_until, next_check_at, called_at)
        select u.mch_id, u.out_trade_no, u.appid, u.trade_type, u.total_fee, u.sign_type, u.request,
            u.time_expire, u.parameters, 'created', u.seq, u.gateway_message, u.created_at,
            u.created_at, u.holder,
            case when u.holder is not null then now() + make_interval(secs => $13) end,
            case when u.holder is not null then now() + make_interval(secs => $13) end,
            case when u.holder is not null then now() end
        from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::int8[], $6::text[],
            $7::jsonb[], $8::timestamptz[], $9::jsonb[], $10::int4[], $11::text[],
            $12::timestamptz[], $14::uuid[])
            as u (mch_id, out_trade_no, appid, trade_type, total_fee, sign_type, request,
                time_expire, parameters, seq, gateway_message, created_at, holder)
        order by u.mch_id, u.out_trade_no
        on conflict do nothing
        returning mch_id, out_trade_no",
        &columns.mch_id,
        &columns.out_trade_no,
        &columns.appid,
        &columns.trade_type,
        &columns.total_fee,
        &columns.sign_type,
        &columns.request,
        &columns.time_expire,
        &columns.parameters,
        &columns.seq,
        &columns.gateway_message as _,
        &columns.created_at,
        lease_seconds,
        &columns.holder as _,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(|row| parse_key(row.mch_id, row.out_trade_no)).collect()
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
