//! Calls have an owner: compare-and-set protects rows, the lease protects the call (design 5).

use orders::{Order, OrderKey, State};
use sqlx::types::Json;
use time::OffsetDateTime;
use uuid::Uuid;
use wechatpay_v2::{Fields, MchId};

use super::row::{Row, columns};
use super::{Store, StoreError, Stored};

/// Longer than the wait for a call's turn (2 s), the call (8 s) and its settlement (18 s), so that a
/// lease that has ended proves that its call has ended too. A check that makes a second call renews
/// it first. In seconds.
pub(super) const LEASE_SECONDS: f64 = 30.0;

impl Store {
    /// Takes the call lease of an order that may be (re-)entered at WeChat, and returns the
    /// parameters to call with; `None` when somebody holds it, or when the order is no longer the
    /// one that was decided on.
    ///
    /// # Errors
    /// When the store cannot.
    pub async fn take_lease(
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
                call_lease_until = now() + make_interval(secs => $4)
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

    /// Claims orders that are due for a look, with their call leases: of each merchant at most as
    /// many as `rooms` say, of all at most `limit`, the longest due first. Orders of other merchants
    /// stay due. Whoever dies with a claim leaves it to the next one once the lease has ended; two
    /// workers never look at one order at once.
    ///
    /// # Errors
    /// When the store cannot.
    pub async fn claim_due(
        &self,
        holder: Uuid,
        rooms: &[(MchId, i64)],
        limit: i64,
    ) -> Result<Vec<Stored>, StoreError> {
        let mch_ids: Vec<_> = rooms.iter().map(|(mch_id, _)| mch_id.to_string()).collect();
        let counts: Vec<_> = rooms.iter().map(|(_, room)| *room).collect();
        let rows = sqlx::query_as!(
            Row,
            r#"/* claim_due_orders */
            with due as (
                select o.mch_id, o.out_trade_no
                from unnest($4::text[], $5::bigint[]) as m (mch_id, room)
                cross join lateral (
                    select mch_id, out_trade_no, next_check_at from orders
                    where orders.mch_id = m.mch_id and next_check_at <= now()
                        and (call_lease_until is null or call_lease_until < now())
                    order by next_check_at limit m.room for update skip locked
                ) o
                order by o.next_check_at limit $2
            )
            update orders o set call_lease_holder = $1,
                call_lease_until = now() + make_interval(secs => $3),
                next_check_at = now() + make_interval(secs => $3)
            from due where o.mch_id = due.mch_id and o.out_trade_no = due.out_trade_no
            returning sign_type, request as "request: _", time_expire,
                parameters as "parameters: _", state, seq, prepay_id, code_url, mweb_url,
                prepay_issued_at, payment as "payment: _", closing_since, closed_at, err_code,
                err_code_des, gateway_message, call_lease_holder, created_at, updated_at"#,
            holder,
            limit,
            LEASE_SECONDS,
            &mch_ids,
            &counts,
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(Row::read).collect()
    }

    /// Gives a lease back after a call that brought an answer but no fact, and says when to look
    /// again (`None`: never by itself). Whoever moved the order during the call, or hastened the next
    /// look, has said when already, and that stands.
    ///
    /// # Errors
    /// When the store cannot; the lease then ends by itself.
    pub async fn release_lease_and_reschedule(
        &self,
        order: &Order,
        holder: Uuid,
        at: Option<OffsetDateTime>,
    ) -> Result<(), StoreError> {
        let key = order.key();
        sqlx::query!(
            "/* look_again */
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

    /// Gives a lease back without having called, and says when to look again at the latest (`None`:
    /// as was said before). No attempt is counted. `gateway_message` stands only where WeChat has
    /// said nothing about this very order. Whoever moved the order meanwhile has said when to look,
    /// and that stands.
    ///
    /// # Errors
    /// When the store cannot; the lease then ends by itself.
    pub async fn defer(
        &self,
        order: &Order,
        holder: Uuid,
        at: Option<OffsetDateTime>,
        gateway_message: Option<&str>,
    ) -> Result<(), StoreError> {
        let key = order.key();
        sqlx::query!(
            "/* put_off */
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

    /// Begins the lease anew for a second call, if it is still ours and the order still as it was
    /// decided on.
    ///
    /// # Errors
    /// When the store cannot.
    pub async fn renew_lease(&self, order: &Order, holder: Uuid) -> Result<bool, StoreError> {
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

    /// Those of the keys that are orders of ours and not settled, in one question: a forger can
    /// name any number of others.
    ///
    /// # Errors
    /// When the store cannot.
    pub async fn filter_non_terminal(
        &self,
        keys: &[OrderKey],
    ) -> Result<Vec<OrderKey>, StoreError> {
        let (mch_ids, numbers) = columns(keys);
        let places = sqlx::query_scalar!(
            r#"/* unsettled_of */
            select named.place as "place!"
            from unnest($1::text[], $2::text[]) with ordinality
                as named (mch_id, out_trade_no, place)
            join orders using (mch_id, out_trade_no)
            where orders.state in ('created', 'payable', 'closing', 'closed')"#,
            &mch_ids,
            &numbers,
        )
        .fetch_all(&self.pool)
        .await?;
        let places = places.into_iter().filter_map(|place| usize::try_from(place - 1).ok());
        Ok(places.filter_map(|place| keys.get(place)).cloned().collect())
    }

    /// Has an order that is not settled looked at now, because something odd was said about it.
    ///
    /// # Errors
    /// When the store cannot.
    pub async fn schedule_check(&self, key: &OrderKey) -> Result<bool, StoreError> {
        let done = sqlx::query!(
            "/* hasten */
            update orders set next_check_at = now()
            where mch_id = $1 and out_trade_no = $2
                and state in ('created', 'payable', 'closing', 'closed')",
            key.mch_id.as_str(),
            key.out_trade_no.as_str(),
        )
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() == 1)
    }
}
