//! `order.query`: replies with the order as it is in the database. Without the database there is no
//! reply: the caller waits five seconds and asks again.

use broker::{Delivery, Outcome};
use orders::{OrderKey, Problem, Reply};

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
        Ok(reply) => context.reply(delivery, &reply),
        Err(error) => tracing::warn!(%error, "a query got no reply; the caller asks again"),
    }
    Outcome::Done
}

async fn find(context: &CommandContext, key: &OrderKey) -> Result<Reply, StoreError> {
    let store = &context.service.store;
    if let Some(view) = store.view(key).await? {
        return Ok(Reply::order(200, view));
    }
    let problem = store.rejection(key).await?;
    Ok(Reply::problem(problem.unwrap_or_else(Problem::not_found)))
}
