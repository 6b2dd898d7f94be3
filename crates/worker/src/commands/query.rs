//! `order.query`: how does an order stand? Answered from the database, or not at all: whoever
//! asked waits five seconds and asks again.

use broker::{Delivery, Outcome};
use orders::{OrderKey, Problem, Reply};

use super::Commands;
use crate::store::StoreError;

pub(super) async fn handle(commands: &Commands, delivery: &Delivery) -> Outcome {
    let key = match OrderKey::parse(&delivery.body) {
        Ok(key) => key,
        Err(invalid) => {
            commands.reply(delivery, &Reply::problem(invalid.into_problem()));
            return Outcome::Done;
        }
    };
    if !commands.may_act(delivery, &key.mch_id) {
        commands.reply(delivery, &Reply::problem(Problem::forbidden()));
        return Outcome::Done;
    }
    match answer(commands, &key).await {
        Ok(reply) => commands.reply(delivery, &reply),
        Err(error) => tracing::warn!(%error, %key, "a question stays unanswered"),
    }
    Outcome::Done
}

async fn answer(commands: &Commands, key: &OrderKey) -> Result<Reply, StoreError> {
    if let Some(view) = commands.service.store.view(key).await? {
        return Ok(Reply::order(200, view));
    }
    let problem = commands.service.store.rejection(key).await?;
    Ok(Reply::problem(problem.unwrap_or_else(Problem::not_found)))
}
