use std::sync::Arc;

use broker::{Delivery, Outcome};
use orders::{COMMAND_BYTES_MAX, FieldProblem, Order, OrderRequest, Problem, Reply};
use uuid::Uuid;

use super::repeat::repeat;
use crate::commands::context::{self, CommandContext};
use crate::commands::identity::lease_holder;
use crate::gateway::Admission;
use crate::merchants::Merchant;
use crate::schedule::REMAINING_LIFETIME_MIN;
use crate::store::{Acceptance, StoreError};
use crate::{clock, traceparent};

/// Of an order whose shop gives no `time_expire`.
const LIFETIME_DEFAULT: time::Duration = time::Duration::hours(2);

/// A command before the batch is accepted.
pub(super) enum Prepared {
    /// Nothing is to be accepted.
    Done(Outcome),
    New(Box<NewOrder>),
}

pub(super) struct NewOrder {
    pub(super) acceptance: Acceptance,
    pub(super) merchant: Arc<Merchant>,
    /// `None`: no place is free in the lane, or the merchant's calls pause.
    pub(super) admission: Option<Admission>,
}

/// Reads and checks a command, and finds a place for its call.
pub(super) async fn prepare(context: &CommandContext, delivery: &Delivery) -> Prepared {
    if delivery.body.len() > COMMAND_BYTES_MAX {
        context.reply(delivery, &Reply::problem(Problem::too_large(COMMAND_BYTES_MAX)));
        let reason = format!("larger than {COMMAND_BYTES_MAX} bytes");
        return Prepared::Done(Outcome::Park { reason });
    }
    let request = match OrderRequest::parse(&delivery.body) {
        Ok(request) => request,
        Err(invalid) => {
            return Prepared::Done(context.reject_invalid(delivery, invalid).await);
        }
    };
    let key = request.key();
    context::record_key(&key);
    let reject =
        async |problem| Prepared::Done(context.reject_order(delivery, &key, problem).await);
    let merchant = match context.merchant(delivery, &key.mch_id) {
        Ok(merchant) => merchant,
        Err(problem) => return reject(*problem).await,
    };
    if !merchant.appids.contains(&request.appid) {
        let invalid = FieldProblem::new("appid", "one of this merchant's apps");
        return reject(Problem::invalid(vec![invalid])).await;
    }
    let at = clock::now();
    let time_expire = request.time_expire.unwrap_or(at + LIFETIME_DEFAULT);
    let is_near_its_end = time_expire - at < REMAINING_LIFETIME_MIN;
    let (order, transition) = Order::accept(request, time_expire, merchant.sign_type, at);
    if is_near_its_end {
        let outcome = near_its_end(context, delivery, &merchant, &order).await;
        return Prepared::Done(outcome.unwrap_or_else(|error| context::store_failed(&error)));
    }
    let (admission, gateway_message) = match context.service.gateway.admit(&merchant.mch_id) {
        Ok(admission) => (admission, None),
        Err(deferred) => (None, deferred.gateway_message),
    };
    let acceptance = Acceptance {
        parameters: order.parameters(&merchant.notify_url()),
        order: Order { gateway_message, ..order },
        transition,
        lease_holder: admission.is_some().then(|| lease_holder(delivery)),
        event_id: Uuid::now_v7(),
        traceparent: traceparent::of(delivery),
    };
    Prepared::New(Box::new(NewOrder { acceptance, merchant, admission }))
}

/// A repeated command may name an order that is near its end; a new order may not.
async fn near_its_end(
    context: &CommandContext,
    delivery: &Delivery,
    merchant: &Arc<Merchant>,
    order: &Order,
) -> Result<Outcome, StoreError> {
    let key = order.key();
    if let Some(existing) = context.service.store.find(&key).await? {
        return repeat(context, delivery, merchant, existing, order).await;
    }
    let rule = "at least 6 minutes ahead: WeChat Pay refuses less than 5";
    let problem = Problem::invalid(vec![FieldProblem::new("time_expire", rule)]);
    Ok(context.reject_order(delivery, &key, problem).await)
}
