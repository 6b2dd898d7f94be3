//! The first write of orders, before the first call.

use std::collections::HashSet;

use orders::{OrderKey, OrderView, event};

use super::leases::LEASE_SECONDS;
use super::orders::Acceptance;
use super::outbox::Outgoing;
use super::transitions::{self, NewTransition};
use super::{Store, StoreError};
use crate::failpoint;

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
        failpoint::reached("accept.written");
        tx.commit().await?;
        for new in &transitions {
            transitions::count(None, new.transition.to);
        }
        self.outbox.notify(transitions.into_iter().map(|new| new.outgoing));
        Ok(inserted)
    }
}

fn first_transition(new: &Acceptance) -> NewTransition {
    let view = OrderView::of(&new.order, Vec::new(), None);
    let event = event::of_transition(new.event_id, &new.transition, &view);
    let outgoing = Outgoing { event, traceparent: new.traceparent.clone() };
    NewTransition { key: new.order.key(), transition: new.transition.clone(), outgoing }
}
