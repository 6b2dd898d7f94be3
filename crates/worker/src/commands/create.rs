//! `order.create`: accepts a batch of orders in one transaction. The commands are acked then; each
//! order's unifiedorder follows in its merchant's lane, and the reply when its outcome is stored, an
//! unknown one included.
//!
//! When the process dies before the ack, the command is delivered again and finds what is stored.
//! When it dies after it, the reconciler takes the order up: at once when it was never called, and
//! when its call lease ends otherwise.

mod call;
mod prepare;
mod repeat;
mod reply;

use std::collections::{HashMap, HashSet};

use broker::{Delivery, Outcome};
use futures_util::future::join_all;
use orders::OrderView;
use tracing::{Instrument, Span};

use super::context::{self, CommandContext};
use crate::failpoint;
use crate::store::{Acceptance, StoreError};
use call::Call;
use prepare::{NewOrder, Prepared, prepare};
use repeat::repeat;
use reply::reply_order;

/// A command with the span of its log lines.
pub(super) struct Command<'a> {
    pub(super) delivery: &'a Delivery,
    pub(super) span: Span,
}

/// Handles a batch: the outcomes are in its order.
pub(super) async fn handle(context: &CommandContext, commands: &[Command<'_>]) -> Vec<Outcome> {
    failpoint::reached("create.taken");
    let prepared = commands
        .iter()
        .map(|command| prepare(context, command.delivery).instrument(command.span.clone()));
    let prepared = join_all(prepared).await;
    let accepted = accept(context, &prepared).await;
    let finished = commands.iter().zip(prepared).enumerate().map(|(index, (command, prepared))| {
        let accepted = accepted.get(&index).cloned();
        let finish = async move {
            match prepared {
                Prepared::Done(outcome) => outcome,
                Prepared::New(new) => finish(context, command.delivery, *new, accepted).await,
            }
        };
        finish.instrument(command.span.clone())
    });
    join_all(finished).await
}

/// Whether each new order is accepted, by its position: `false` if its number exists already.
type Acceptances = HashMap<usize, Result<bool, StoreError>>;

/// Accepts the new orders in one transaction. When that fails because of one of them, each is
/// accepted alone.
async fn accept(context: &CommandContext, prepared: &[Prepared]) -> Acceptances {
    let mut numbers = HashSet::new();
    let mut positions = Vec::new();
    let mut new = Vec::new();
    for (position, prepared) in prepared.iter().enumerate() {
        // A number that comes twice in a batch: the first is the order, the other its repetition.
        if let Prepared::New(order) = prepared
            && numbers.insert(order.acceptance.order.key())
        {
            positions.push(position);
            new.push(order.acceptance.clone());
        }
    }
    let store = &context.service.store;
    match store.accept(&new).await {
        Ok(inserted) => positions
            .into_iter()
            .zip(&new)
            .map(|(position, it)| (position, Ok(inserted.contains(&it.order.key()))))
            .collect(),
        Err(error) if new.len() > 1 && error.is_about_rows() => {
            tracing::warn!(%error, count = new.len(), "a batch of orders is accepted one by one");
            let each = positions.into_iter().zip(&new).map(|(position, it)| async move {
                let accepted = store.accept(std::slice::from_ref(it)).await;
                (position, accepted.map(|inserted| !inserted.is_empty()))
            });
            join_all(each).await.into_iter().collect()
        }
        Err(error) => {
            positions.into_iter().map(|position| (position, Err(error.clone()))).collect()
        }
    }
}

/// `accepted`: `None` for a repetition within the batch.
async fn finish(
    context: &CommandContext,
    delivery: &Delivery,
    new: NewOrder,
    accepted: Option<Result<bool, StoreError>>,
) -> Outcome {
    let finished = async {
        if accepted.transpose()?.unwrap_or(false) {
            failpoint::reached("create.stored");
            call_or_leave(context, delivery, new);
            return Ok(Outcome::Done);
        }
        let NewOrder { acceptance, merchant, .. } = new;
        let key = acceptance.order.key();
        let existing = context.service.store.find(&key).await?;
        let existing = existing.ok_or(StoreError::Conflict("out_trade_no"))?;
        repeat(context, delivery, &merchant, existing, &acceptance.order).await
    };
    finished.await.unwrap_or_else(|error: StoreError| context::store_failed(&error))
}

/// Calls WeChat about an accepted order in its merchant's lane. When the lane had no place, the
/// order waits for the reconciler, and the reply says so.
fn call_or_leave(context: &CommandContext, delivery: &Delivery, new: NewOrder) {
    let NewOrder { acceptance, merchant, admission } = new;
    let Acceptance { order, parameters, lease_holder, traceparent, .. } = acceptance;
    match (admission, lease_holder) {
        (Some(admission), Some(holder)) => {
            let is_first_call = true;
            let call = Call { merchant, order, parameters, holder, is_first_call, traceparent };
            call.start(context, delivery, admission);
        }
        _ => {
            let view = OrderView::of(&order, Vec::new(), None);
            reply_order(context, delivery, &merchant, &order, view);
        }
    }
}
