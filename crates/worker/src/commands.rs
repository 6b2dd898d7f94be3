//! What shops ask of us: one command, one file.

mod close;
mod create;
mod identity;
mod query;

use broker::{Delivery, Handler, Namespace, Outcome, Replier, topology};
use bytes::Bytes;
use futures_util::future::join_all;
use orders::{FieldProblem, InvalidOrder, OrderKey, Problem, Reply};
use std::sync::Arc;
use std::time::Duration;
use wechatpay_v2::MchId;

use crate::clients::Clients;
use crate::gateway::FairSemaphore;
use crate::merchants::Merchant;
use crate::order_service::OrderService;
use crate::store::StoreError;
use crate::{clock, trace};

/// The database is away or busy: the message waits in the broker, at no cost of an attempt.
const DATABASE_AWAY: Outcome = Outcome::Snooze(Duration::from_secs(5));

/// Handles the command queues.
pub(crate) struct Commands {
    pub(crate) service: OrderService,
    /// For the calls of creates, so that one merchant's slow ones leave room for the others'.
    pub(crate) permits: FairSemaphore,
    pub(crate) replier: Replier,
    pub(crate) namespace: Namespace,
    /// Whom a command must come from, when that is said.
    pub(crate) clients: Option<Clients>,
}

impl Handler for Commands {
    async fn handle(&self, batch: Vec<Delivery>) -> Vec<Outcome> {
        join_all(batch.iter().map(|delivery| self.one(delivery))).await
    }
}

impl Commands {
    async fn one(&self, delivery: &Delivery) -> Outcome {
        let (kind, outcome) = match delivery.routing_key.as_str() {
            topology::ORDER_CREATE => ("create", create::handle(self, delivery).await),
            topology::ORDER_CLOSE => ("close", close::handle(self, delivery).await),
            topology::ORDER_QUERY => ("query", query::handle(self, delivery).await),
            _ => ("other", Outcome::Park { reason: "no such command".to_owned() }),
        };
        let result = match &outcome {
            Outcome::Done => "done",
            Outcome::Snooze(_) => "snooze",
            Outcome::Retry { .. } => "retry",
            Outcome::Park { .. } => "park",
        };
        metrics::counter!("wxpay_commands_total", "type" => kind, "result" => result).increment(1);
        outcome
    }

    /// Answers whoever waits. A `reply_to` among our own queues is nobody's to give.
    fn reply(&self, delivery: &Delivery, reply: &Reply) {
        let Some(reply_to) = &delivery.reply_to else {
            return;
        };
        if self.namespace.owns(reply_to) {
            return;
        }
        match serde_json::to_vec(reply) {
            Ok(body) => {
                let correlation_id = delivery.correlation_id.as_deref();
                self.replier.send(reply_to, correlation_id, Bytes::from(body));
            }
            Err(error) => tracing::error!(%error, "a reply cannot be written as JSON"),
        }
    }

    /// The merchant of a command, where it is ours, its sender may act for it, and the command may
    /// be answered.
    fn merchant(&self, delivery: &Delivery, mch_id: &MchId) -> Result<Arc<Merchant>, Box<Problem>> {
        if !self.may_act(delivery, mch_id) {
            return Err(Box::new(Problem::forbidden()));
        }
        let wrong = |field, rule| Box::new(Problem::invalid(vec![FieldProblem::new(field, rule)]));
        if delivery.reply_to.as_ref().is_some_and(|queue| self.namespace.owns(queue)) {
            return Err(wrong("reply_to", "a queue outside this service's own names"));
        }
        let merchant = self.service.merchants.get(mch_id);
        merchant.ok_or_else(|| wrong("mch_id", "a merchant that is served here"))
    }

    fn may_act(&self, delivery: &Delivery, mch_id: &MchId) -> bool {
        let clients = self.clients.as_ref();
        clients.is_none_or(|clients| clients.allow(delivery.user_id.as_deref(), mch_id))
    }

    /// A command that breaks its rules is told to its merchant; what names none is for a human.
    async fn refuse(&self, delivery: &Delivery, invalid: InvalidOrder) -> Outcome {
        if let InvalidOrder::Fields { mch_id: Some(mch_id), out_trade_no, .. } = &invalid {
            let (mch_id, number) = (mch_id.clone(), out_trade_no.clone().unwrap_or_default());
            return self.decline(delivery, &mch_id, &number, invalid.into_problem()).await;
        }
        let problem = invalid.into_problem();
        let reason = match problem.errors.first() {
            None => problem.detail.clone().unwrap_or_default(),
            Some(_) => "it names no merchant".to_owned(),
        };
        self.reply(delivery, &Reply::problem(problem));
        Outcome::Park { reason: format!("no command can be read from it: {reason}") }
    }

    /// Declines a command about an order.
    async fn decline_key(&self, delivery: &Delivery, key: &OrderKey, problem: Problem) -> Outcome {
        self.decline(delivery, &key.mch_id, key.out_trade_no.as_str(), problem).await
    }

    /// Declines a command: written down, told as `order.rejected`, and answered.
    async fn decline(
        &self,
        delivery: &Delivery,
        mch_id: &MchId,
        out_trade_no: &str,
        problem: Problem,
    ) -> Outcome {
        let id = identity::command_id(delivery);
        let at = clock::now();
        let (store, trace) = (&self.service.store, trace::of(delivery));
        let rejected = store.reject(&id, mch_id, out_trade_no, &problem, at, trace);
        if let Err(error) = rejected.await {
            return trouble(&error);
        }
        tracing::info!(%mch_id, out_trade_no, problem = problem.kind, "command declined");
        self.reply(delivery, &Reply::problem(problem));
        Outcome::Done
    }
}

/// What to do with a message when the store did not take it.
fn trouble(error: &StoreError) -> Outcome {
    tracing::warn!(%error, "a command could not be stored");
    match error {
        StoreError::Unavailable(_) => DATABASE_AWAY,
        StoreError::Conflict(_) | StoreError::Fault(_) => {
            Outcome::Retry { reason: error.to_string() }
        }
    }
}
