//! The first write of an order, before the first call.

use orders::{Order, OrderView, Transition, event};
use uuid::Uuid;
use wechatpay_v2::Fields;

use super::leases::LEASE_SECONDS;
use super::outbox::{self, Outgoing};
use super::transitions::{self, NewTransition};
use super::{Store, StoreError, StoredOrder};
use crate::failpoint;

#[derive(Clone, Debug)]
pub(crate) struct Acceptance {
    /// The order, in state `created`.
    pub(crate) order: Order,
    pub(crate) transition: Transition,
    /// The parameters of the call that follows, which every repetition sends byte for byte.
    pub(crate) parameters: Fields,
    /// Who makes the call.
    pub(crate) lease_holder: Uuid,
    /// The id of the event `order.created`.
    pub(crate) event_id: Uuid,
    /// The trace of the command.
    pub(crate) traceparent: Option<String>,
}

#[derive(Clone, Debug)]
pub(crate) enum Accepted {
    /// The order is written, and the caller holds its call lease.
    New,
    /// The number exists already; nothing was written.
    Existing(Box<StoredOrder>),
}

impl Store {
    /// Writes an order, its first transition and its event, and takes the call lease; or returns
    /// the order that exists under the same number.
    pub(crate) async fn accept(&self, new: &Acceptance) -> Result<Accepted, StoreError> {
        let key = new.order.key();
        let mut tx = self.pool.begin().await?;
        let inserted = super::orders::insert(
            &mut tx,
            &new.order,
            &new.parameters,
            new.lease_holder,
            LEASE_SECONDS,
        );
        if !inserted.await? {
            let existing = super::orders::find(&mut tx, &key).await?;
            tx.rollback().await?;
            let existing = existing.ok_or(StoreError::Conflict("out_trade_no"))?;
            return Ok(Accepted::Existing(Box::new(existing)));
        }
        let view = OrderView::of(&new.order, Vec::new(), None);
        let event = event::of_transition(new.event_id, &new.transition, &view);
        let outgoing = Outgoing { event, traceparent: new.traceparent.clone() };
        let transition = NewTransition { key, transition: new.transition.clone(), outgoing };
        transitions::insert(&mut tx, std::slice::from_ref(&transition)).await?;
        let row = transition.into_outbox_row();
        outbox::insert(&mut tx, std::slice::from_ref(&row)).await?;
        failpoint::reached("accept.written");
        tx.commit().await?;
        transitions::count(None, new.transition.to);
        self.outbox.notify([row.outgoing]);
        Ok(Accepted::New)
    }
}
