//! The call lease of an order. Its holder alone may call WeChat about the order: compare-and-set
//! protects the row, and the lease protects the call.

use std::time::Duration;

use orders::{Order, OrderKey, State};
use sqlx::types::Json;
use time::OffsetDateTime;
use uuid::Uuid;
use wechatpay_v2::{Fields, MchId};

use super::keys::key_columns;
use super::orders::{Row, StoredOrder};
use super::{Store, StoreError};

/// Longer than the wait in the merchant's lane (3 s), the call (8 s) and its settlement (18 s), so
/// that an expired lease proves that its call has ended. A check that makes a second call renews
/// the lease first.
pub(super) const LEASE_SECONDS: f64 = 30.0;

/// A first call that was not made.
#[derive(Clone, Debug)]
pub(crate) struct DeferredFirstCall {
    pub(crate) key: OrderKey,
    pub(crate) holder: Uuid,
    /// Of the order when its lease was taken.
    pub(crate) seq: i32,
    /// Why calls of this merchant fail at present, if that is the reason.
    pub(crate) gateway_message: Option<String>,
}

impl Store {
    /// Takes the call lease for a unifiedorder, and returns the parameters of the call. Returns
    /// `None` when the lease is taken, or when the order has changed since it was read.
    pub(crate) async fn take_lease(
        &self,
        order: &Order,
        holder: Uuid,
    ) -> Result<Option<Fields>, StoreError> {
        let key = order.key();
        let issued_at = match &order.state {
            State::Payable { issued_at, .. } => Some(*issued_at),
            _ => None,
        };
        let row = sqlx::query!(
            r#"/* take_lease */
            update orders set call_lease_holder = $3,
                call_lease_until = now() + make_interval(secs => $4),
                next_check_at = case when called_at is null
                    then now() + make_interval(secs => $4) else next_check_at end,
                called_at = coalesce(called_at, now())
            where mch_id = $1 and out_trade_no = $2 and state in ('created', 'payable')
                and state = $5 and seq = $6 and prepay_issued_at is not distinct from $7
                and (call_lease_until is null or call_lease_until < now())
            returning parameters as "parameters: Json<Fields>""#,
            key.mch_id.as_str(),
            key.out_trade_no.as_str(),
            holder,
            LEASE_SECONDS,
            order.state.name().as_str(),
            order.seq,
            issued_at,
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(|row| row.parameters.0))
    }

    /// Claims orders whose check is due, and takes their call leases: at most `limit` orders, and
    /// of each merchant at most its capacity, the longest due first. Orders of other merchants stay
    /// due. No two workers check one order at once. When a worker dies, the next claim takes its
    /// orders after their leases expire.
    pub(crate) async fn claim_due(
        &self,
        holder: Uuid,
        capacities: &[(MchId, i64)],
        limit: i64,
    ) -> Result<Vec<StoredOrder>, StoreError> {
        let mch_ids: Vec<_> = capacities.iter().map(|(mch_id, _)| mch_id.to_string()).collect();
        let capacities: Vec<_> = capacities.iter().map(|(_, capacity)| *capacity).collect();
        let rows = sqlx::query_as!(
            Row,
            r#"/* claim_due_orders */
            with due as (
                select o.mch_id, o.out_trade_no
                from unnest($4::text[], $5::bigint[]) as m (mch_id, capacity)
                cross join lateral (
                    select mch_id, out_trade_no, next_check_at from orders
                    where orders.mch_id = m.mch_id and next_check_at <= now()
                        and (call_lease_until is null or call_lease_until < now())
                    order by next_check_at limit m.capacity for update skip locked
                ) o
                order by o.next_check_at limit $2
            )
            update orders o set call_lease_holder = $1,
                call_lease_until = now() + make_interval(secs => $3),
                next_check_at = now() + make_interval(secs => $3),
                called_at = coalesce(called_at, now()), checked_at = now()
            from due where o.mch_id = due.mch_id and o.out_trade_no = due.out_trade_no
            returning sign_type, request as "request: _", time_expire,
                parameters as "parameters: _", state, seq, prepay_id, code_url, mweb_url,
                prepay_issued_at, payment as "payment: _", closing_since, closed_at, err_code,
                err_code_des, gateway_message, call_lease_holder, created_at, updated_at"#,
            holder,
            limit,
            LEASE_SECONDS,
            &mch_ids,
            &capacities,
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(Row::read).collect()
    }

    /// Takes the call lease of a payable order for a check that is not due. Returns `None` when the
    /// lease is taken, when WeChat was heard about the order within `pause` (a check, or the answer
    /// with its `prepay_id`), or when an exception has stopped its checks.
    pub(crate) async fn claim_on_demand(
        &self,
        key: &OrderKey,
        holder: Uuid,
        pause: Duration,
    ) -> Result<Option<StoredOrder>, StoreError> {
        let row = sqlx::query_as!(
            Row,
            r#"/* claim_on_demand */
            update orders set call_lease_holder = $3,
                call_lease_until = now() + make_interval(secs => $4),
                next_check_at = now() + make_interval(secs => $4), checked_at = now()
            where mch_id = $1 and out_trade_no = $2 and state = 'payable'
                and next_check_at is not null
                and (call_lease_until is null or call_lease_until < now())
                and greatest(checked_at, prepay_issued_at) < now() - make_interval(secs => $5)
            returning sign_type, request as "request: _", time_expire,
                parameters as "parameters: _", state, seq, prepay_id, code_url, mweb_url,
                prepay_issued_at, payment as "payment: _", closing_since, closed_at, err_code,
                err_code_des, gateway_message, call_lease_holder, created_at, updated_at"#,
            key.mch_id.as_str(),
            key.out_trade_no.as_str(),
            holder,
            LEASE_SECONDS,
            pause.as_secs_f64(),
        )
        .fetch_optional(&self.pool)
        .await?;
        row.map(Row::read).transpose()
    }

    /// Claims orders for which unifiedorder was never called, and takes their call leases: at most
    /// `limit` orders, and of each merchant at most its places, the oldest first.
    pub(crate) async fn claim_never_called(
        &self,
        holder: Uuid,
        places: &[(MchId, i64)],
        limit: i64,
    ) -> Result<Vec<StoredOrder>, StoreError> {
        let mch_ids: Vec<_> = places.iter().map(|(mch_id, _)| mch_id.to_string()).collect();
        let places: Vec<_> = places.iter().map(|(_, places)| *places).collect();
        let rows = sqlx::query_as!(
            Row,
            r#"/* claim_never_called_orders */
            with waiting as (
                select o.mch_id, o.out_trade_no
                from unnest($4::text[], $5::bigint[]) as m (mch_id, places)
                cross join lateral (
                    select mch_id, out_trade_no, created_at from orders
                    where orders.mch_id = m.mch_id and state = 'created' and called_at is null
                    order by created_at limit m.places for update skip locked
                ) o
                order by o.created_at limit $2
            )
            update orders o set call_lease_holder = $1,
                call_lease_until = now() + make_interval(secs => $3),
                next_check_at = now() + make_interval(secs => $3),
                called_at = now()
            from waiting where o.mch_id = waiting.mch_id and o.out_trade_no = waiting.out_trade_no
            returning sign_type, request as "request: _", time_expire,
                parameters as "parameters: _", state, seq, prepay_id, code_url, mweb_url,
                prepay_issued_at, payment as "payment: _", closing_since, closed_at, err_code,
                err_code_des, gateway_message, call_lease_holder, created_at, updated_at"#,
            holder,
            limit,
            LEASE_SECONDS,
            &mch_ids,
            &places,
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(Row::read).collect()
    }

    /// Releases the leases of orders whose first call has not begun. They are never called again,
    /// and the next claim with a place takes them. An order that moved meanwhile only loses its
    /// lease.
    pub(crate) async fn defer_first_calls(
        &self,
        deferred: &[DeferredFirstCall],
    ) -> Result<(), StoreError> {
        let (mch_ids, numbers) = key_columns(deferred.iter().map(|it| &it.key));
        let holders: Vec<Uuid> = deferred.iter().map(|it| it.holder).collect();
        let seqs: Vec<i32> = deferred.iter().map(|it| it.seq).collect();
        let messages: Vec<Option<String>> =
            deferred.iter().map(|it| it.gateway_message.clone()).collect();
        sqlx::query!(
            "/* defer_first_calls */
            update orders o set call_lease_holder = null, call_lease_until = null,
                called_at = case when o.seq = u.seq then null else o.called_at end,
                next_check_at = case when o.seq = u.seq then null else o.next_check_at end,
                gateway_message = case when o.seq = u.seq
                    then coalesce(o.gateway_message, u.gateway_message)
                    else o.gateway_message end
            from unnest($1::text[], $2::text[], $3::uuid[], $4::int4[], $5::text[])
                as u (mch_id, out_trade_no, holder, seq, gateway_message)
            where o.mch_id = u.mch_id and o.out_trade_no = u.out_trade_no
                and o.call_lease_holder = u.holder",
            &mch_ids,
            &numbers,
            &holders,
            &seqs,
            &messages as _,
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Releases a lease after a call that brought an answer but no fact, and schedules the next
    /// check (`None`: no further check). When the order moved or a check was scheduled during the
    /// call, the next check stays as it is.
    pub(crate) async fn release_lease_and_reschedule(
        &self,
        order: &Order,
        holder: Uuid,
        at: Option<OffsetDateTime>,
    ) -> Result<(), StoreError> {
        let key = order.key();
        sqlx::query!(
            "/* release_lease_and_reschedule */
            update orders set call_lease_holder = null, call_lease_until = null,
                next_check_at = case
                    when seq = $5 and (next_check_at is null or next_check_at > now()) then $4
                    else next_check_at end,
                unknown_count = 0, same_failure_count = 0
            where mch_id = $1 and out_trade_no = $2 and call_lease_holder = $3",
            key.mch_id.as_str(),
            key.out_trade_no.as_str(),
            holder,
            at,
            order.seq,
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Releases a lease without a call. The next check is at `at` or earlier (`None`: as it was).
    /// No attempt is counted. `gateway_message` is kept only where WeChat has said nothing about
    /// this order. When the order moved meanwhile, the next check stays as it is.
    pub(crate) async fn defer(
        &self,
        order: &Order,
        holder: Uuid,
        at: Option<OffsetDateTime>,
        gateway_message: Option<&str>,
    ) -> Result<(), StoreError> {
        let key = order.key();
        sqlx::query!(
            "/* defer_call */
            update orders set call_lease_holder = null, call_lease_until = null,
                next_check_at = case
                    when seq = $5 and next_check_at is not null then least(next_check_at, $4)
                    else next_check_at end,
                gateway_message = case
                    when seq = $5 then coalesce(gateway_message, $6) else gateway_message end
            where mch_id = $1 and out_trade_no = $2 and call_lease_holder = $3",
            key.mch_id.as_str(),
            key.out_trade_no.as_str(),
            holder,
            at,
            order.seq,
            gateway_message,
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Renews the lease for a second call. Returns `false` when the lease is lost or the order has
    /// changed.
    pub(crate) async fn renew_lease(
        &self,
        order: &Order,
        holder: Uuid,
    ) -> Result<bool, StoreError> {
        let key = order.key();
        let done = sqlx::query!(
            "/* renew_lease */
            update orders set call_lease_until = now() + make_interval(secs => $5)
            where mch_id = $1 and out_trade_no = $2 and seq = $3 and call_lease_holder = $4",
            key.mch_id.as_str(),
            key.out_trade_no.as_str(),
            order.seq,
            holder,
            LEASE_SECONDS,
        )
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() == 1)
    }
}
