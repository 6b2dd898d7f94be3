use orders::event;
use orders::{Order, OrderView, Transition};
use sqlx::types::Json;
use uuid::Uuid;
use wechatpay_v2::Fields;

use super::lease::LEASE_SECONDS;
use super::write::{self, Cause};
use super::{Outgoing, Store, StoreError, Stored, row};
use crate::failpoint;

/// An order that is to be written down before the first call.
#[derive(Clone, Debug)]
pub struct Acceptance {
    /// The order, in state `created`.
    pub order: Order,
    /// Its first transition.
    pub transition: Transition,
    /// The parameters of the call that follows, to be repeated byte for byte.
    pub parameters: Fields,
    /// Who will make the call.
    pub lease_holder: Uuid,
    /// The id of the event `order.created`.
    pub event_id: Uuid,
    /// The trace of whoever asked.
    pub traceparent: Option<String>,
}

/// What became of it.
#[derive(Clone, Debug)]
pub enum Accepted {
    /// Written down; the caller holds the call lease.
    New,
    /// The number stands already; nothing was written.
    Existing(Box<Stored>),
}

impl Store {
    /// Writes an order, its first transition and its event, and takes the call lease, all or
    /// nothing; or returns the order that stands under the same number.
    ///
    /// # Errors
    /// When the store cannot; nothing is written then.
    pub async fn accept(&self, new: &Acceptance) -> Result<Accepted, StoreError> {
        let mut tx = self.pool.begin().await?;
        if !insert_order(&mut tx, new).await? {
            let standing = row::find(&mut tx, &new.order.key()).await?;
            tx.rollback().await?;
            let standing = standing.ok_or(StoreError::Conflict("out_trade_no"))?;
            return Ok(Accepted::Existing(Box::new(standing)));
        }
        let view = OrderView::of(&new.order, Vec::new(), None);
        let event = event::of_transition(new.event_id, &new.transition, &view);
        let outgoing = Outgoing { event, traceparent: new.traceparent.clone() };
        let written = write::WrittenTransition {
            key: new.order.key(),
            transition: new.transition.clone(),
            outgoing: outgoing.clone(),
        };
        write::transitions(&mut tx, std::slice::from_ref(&written)).await?;
        let cause = Cause::Transition(new.transition.seq);
        write::outbox(&mut tx, &[(new.order.key(), cause, outgoing.clone())]).await?;
        failpoint::reached("accept.written");
        tx.commit().await?;
        write::count_moves(&[("none", new.transition.to.as_str())]);
        self.outbox.notify([outgoing]);
        Ok(Accepted::New)
    }
}

/// `false` when the number stands already.
async fn insert_order(
    connection: &mut sqlx::PgConnection,
    new: &Acceptance,
) -> Result<bool, StoreError> {
    let order = &new.order;
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
        Json(&new.parameters) as _,
        order.seq,
        new.lease_holder,
        LEASE_SECONDS,
        order.created_at,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}
