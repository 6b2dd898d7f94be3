//! Calls have an owner: compare-and-set protects rows, the lease protects the call (design 5).

use orders::{Order, OrderKey, State};
use sqlx::types::Json;
use uuid::Uuid;
use wechatpay_v2::Fields;

use super::{Store, StoreError};

/// Longer than a call to both hosts with their connect timeouts, so that a lease that has ended
/// proves that its call has ended too. In seconds.
pub(super) const LEASE_SECONDS: f64 = 30.0;

/// When a call's outcome stayed unknown, the order is looked at again after this. In seconds.
const CHECK_AFTER_SECONDS: f64 = 5.0;

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

    /// Writes down that a call's outcome is unknown and gives the lease back. From here on
    /// `next_check_at` drives the order.
    ///
    /// # Errors
    /// When the store cannot; the lease then ends by itself.
    pub async fn note_unknown(
        &self,
        key: &OrderKey,
        holder: Uuid,
        gateway_message: &str,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "/* note_unknown */
            update orders set gateway_message = $4, call_lease_holder = null,
                call_lease_until = null, next_check_at = now() + make_interval(secs => $5)
            where mch_id = $1 and out_trade_no = $2 and call_lease_holder = $3",
            key.mch_id.as_str(),
            key.out_trade_no.as_str(),
            holder,
            gateway_message,
            CHECK_AFTER_SECONDS,
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}
