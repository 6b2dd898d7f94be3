use std::sync::Arc;
use std::time::Duration;

use broker::{Delivery, Outcome};
use orders::{Order, Problem, State};

use super::call::Call;
use super::reply::reply_order;
use crate::commands::context::CommandContext;
use crate::commands::identity::lease_holder;
use crate::merchants::Merchant;
use crate::schedule::REMAINING_LIFETIME_MIN;
use crate::store::{StoreError, StoredOrder};
use crate::{clock, traceparent};

/// A `prepay_id` is valid for two hours. It is renewed before a payer can meet its end.
const PREPAY_AGE_MAX: time::Duration = time::Duration::minutes(100);
/// Between looks at a lease of an earlier delivery. A call lasts up to 8 s, so the command may come
/// back more than once.
const LEASE_SNOOZE: Duration = Duration::from_secs(5);

/// The number exists: the same order gets its present state, another order is a conflict.
pub(super) async fn repeat(
    context: &CommandContext,
    delivery: &Delivery,
    merchant: &Arc<Merchant>,
    existing: StoredOrder,
    repeated: &Order,
) -> Result<Outcome, StoreError> {
    let StoredOrder { order, call_lease_holder, .. } = existing;
    let differing = order.conflicts_with(&repeated.request);
    if !differing.is_empty() {
        let problem = Problem::conflict(&differing, order.state.name());
        return Ok(context.reject_order(delivery, &order.key(), problem).await);
    }
    let holder = lease_holder(delivery);
    if needs_call(&order)
        && let Ok(Some(admission)) = context.service.gateway.admit(&merchant.mch_id)
        && let Some(parameters) = context.service.store.take_lease(&order, holder).await?
    {
        let call = Call {
            merchant: Arc::clone(merchant),
            order,
            parameters,
            holder,
            is_first_call: false,
            traceparent: traceparent::of(delivery),
        };
        call.start(context, delivery, admission);
        return Ok(Outcome::Done);
    }
    if matches!(order.state, State::Created) && call_lease_holder == Some(holder) {
        // An earlier delivery of this command may still be calling WeChat.
        return Ok(Outcome::Snooze(LEASE_SNOOZE));
    }
    if let Some(view) = context.service.store.view(&order.key()).await? {
        reply_order(context, delivery, merchant, &order, view);
    }
    Ok(Outcome::Done)
}

/// An order without an outcome is sent again, an old `prepay_id` is renewed; both only while WeChat
/// still accepts the order's expiry.
fn needs_call(order: &Order) -> bool {
    let now = clock::now();
    if order.time_expire - now < REMAINING_LIFETIME_MIN {
        return false;
    }
    match &order.state {
        State::Created => true,
        State::Payable { issued_at, .. } => now - *issued_at > PREPAY_AGE_MAX,
        _ => false,
    }
}
