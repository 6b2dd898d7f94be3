//! The first write of orders, before the first call.

use std::collections::HashSet;

use orders::{Order, OrderKey, OrderView, Transition, event};
use uuid::Uuid;
use wechatpay_v2::Fields;

use super::leases::LEASE_SECONDS;
use super::outbox::{self, OutboxRow, Outgoing};
use super::transitions::{self, NewTransition};
use super::{Store, StoreError};
use crate::failpoint;

#[derive(Clone, Debug)]
pub(crate) struct Acceptance {
    /// The order, in state `created`.
    pub(crate) order: Order,
    pub(crate) transition: Transition,
    /// The parameters of the call that follows, which every repetition sends byte for byte.
    pub(crate) parameters: Fields,
    /// Who makes the call. `None`: whoever claims the order later.
    pub(crate) lease_holder: Option<Uuid>,
    /// The id of the event `order.created`.
    pub(crate) event_id: Uuid,
    /// The trace of the command.
    pub(crate) traceparent: Option<String>,
}

impl Store {
    /// Writes orders with different numbers in one transaction: each with its first transition, its
    /// event, and its call lease if it has a holder. Returns those whose number was not there yet;
    /// nothing is written about the others.
    pub(crate) async fn accept(&self, new: &[Acceptance]) -> Result<HashSet<OrderKey>, StoreError> {
        if new.is_empty() {
            return Ok(HashSet::new());
        }
        let mut tx = self.begin(new.len()).await?;
        let inserted = super::orders::insert(&mut tx, new, LEASE_SECONDS).await?;
        let accepted = new.iter().filter(|it| inserted.contains(&it.order.key()));
        let transitions: Vec<NewTransition> = accepted.map(first_transition).collect();
        transitions::insert(&mut tx, &transitions).await?;
        let states: Vec<_> = transitions.iter().map(|it| it.transition.to).collect();
        let rows: Vec<OutboxRow> =
            transitions.into_iter().map(NewTransition::into_outbox_row).collect();
        outbox::insert(&mut tx, &rows).await?;
        failpoint::reached("accept.written");
        tx.commit().await?;
        for state in states {
            transitions::count(None, state);
        }
        self.outbox.notify(rows.into_iter().map(|row| row.outgoing));
        Ok(inserted)
    }
}

fn first_transition(new: &Acceptance) -> NewTransition {
    let view = OrderView::of(&new.order, Vec::new(), None);
    let event = event::of_transition(new.event_id, &new.transition, &view);
    let outgoing = Outgoing { event, traceparent: new.traceparent.clone() };
    NewTransition { key: new.order.key(), transition: new.transition.clone(), outgoing }
}
