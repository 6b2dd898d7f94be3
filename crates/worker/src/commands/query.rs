//! `order.query`: replies with the order as it is in the database. Without the database there is no
//! reply: the caller waits five seconds and asks again. WeChat is queried about a payable order, so
//! that the next answer is newer.

use broker::{Delivery, Outcome};
use orders::{OrderKey, Problem, Reply, StateName};

use super::context::{self, CommandContext};
use crate::store::StoreError;

pub(super) async fn handle(context: &CommandContext, delivery: &Delivery) -> Outcome {
    let key = match OrderKey::parse(&delivery.body) {
        Ok(key) => key,
        Err(invalid) => {
            context.reply(delivery, &Reply::problem(invalid.into_problem()));
            return Outcome::Done;
        }
    };
    context::record_key(&key);
    if !context.is_allowed(delivery, &key.mch_id) {
        context.reply(delivery, &Reply::problem(Problem::forbidden()));
        return Outcome::Done;
    }
    match find(context, &key).await {
        Ok(Found { reply, is_payable }) => {
            context.reply(delivery, &reply);
            // Who comes back from paying asks, and may be faster than the notification.
            if is_payable {
                context.requests.check(key);
            }
        }
        Err(error) => tracing::warn!(%error, "a query got no reply; the caller asks again"),
    }
    Outcome::Done
}

struct Found {
    reply: Reply,
    is_payable: bool,
}

async fn find(context: &CommandContext, key: &OrderKey) -> Result<Found, StoreError> {
    let store = &context.service.store;
    if let Some(view) = store.view(key).await? {
        let is_payable = view.state == StateName::Payable;
        return Ok(Found { reply: Reply::order(200, view), is_payable });
    }
    let problem = store.rejection(key).await?.unwrap_or_else(Problem::not_found);
    Ok(Found { reply: Reply::problem(problem), is_payable: false })
}
