//! What all commands need: permissions, replies and rejections.

use std::sync::Arc;
use std::time::Duration;

use broker::{Delivery, Namespace, Outcome, Replier};
use bytes::Bytes;
use orders::{FieldProblem, InvalidCommand, OrderKey, Problem, Reply};
use tokio_util::task::TaskTracker;
use tracing::{Span, field};
use wechatpay_v2::MchId;

use super::identity;
use crate::clients::Clients;
use crate::merchants::Merchant;
use crate::order_service::OrderService;
use crate::reconcile::QueryRequests;
use crate::store::StoreError;
use crate::{clock, traceparent};

/// The database is away or busy: the message waits in the broker, and no attempt is counted.
const DATABASE_SNOOZE: Duration = Duration::from_secs(5);

/// Cheap to clone, as all its parts are.
#[derive(Clone)]
pub(crate) struct CommandContext {
    pub(crate) service: OrderService,
    /// The calls of accepted orders.
    pub(crate) calls: TaskTracker,
    pub(crate) requests: QueryRequests,
    pub(crate) replier: Replier,
    pub(crate) namespace: Namespace,
    /// The senders that may give commands. `None`: everyone on the broker.
    pub(crate) clients: Option<Clients>,
}

impl CommandContext {
    /// Sends a reply, if one is wanted. A `reply_to` that names a queue of this service gets none:
    /// a sender must not publish into our queues through us.
    pub(super) fn reply(&self, delivery: &Delivery, reply: &Reply) {
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
            Err(error) => tracing::error!(%error, "a reply could not be written as JSON"),
        }
    }

    /// The merchant of a command, if it is configured, the sender may act for it, and the command
    /// may be replied to.
    pub(super) fn merchant(
        &self,
        delivery: &Delivery,
        mch_id: &MchId,
    ) -> Result<Arc<Merchant>, Box<Problem>> {
        if !self.is_allowed(delivery, mch_id) {
            return Err(Box::new(Problem::forbidden()));
        }
        let invalid =
            |field, rule| Box::new(Problem::invalid(vec![FieldProblem::new(field, rule)]));
        if delivery.reply_to.as_ref().is_some_and(|queue| self.namespace.owns(queue)) {
            return Err(invalid("reply_to", "a queue outside this service's own names"));
        }
        let merchant = self.service.merchants.get(mch_id);
        merchant.ok_or_else(|| invalid("mch_id", "a merchant that is served here"))
    }

    pub(super) fn is_allowed(&self, delivery: &Delivery, mch_id: &MchId) -> bool {
        let clients = self.clients.as_ref();
        clients.is_none_or(|clients| clients.allow(delivery.user_id.as_deref(), mch_id))
    }

    /// Rejects a command that breaks the rules of its fields. Without a merchant no event can be
    /// published; the command is then parked for an operator.
    pub(super) async fn reject_invalid(
        &self,
        delivery: &Delivery,
        invalid: InvalidCommand,
    ) -> Outcome {
        if let InvalidCommand::Fields { mch_id: Some(mch_id), out_trade_no, .. } = &invalid {
            let mch_id = mch_id.clone();
            let out_trade_no = out_trade_no.clone().unwrap_or_default();
            return self.reject(delivery, &mch_id, &out_trade_no, invalid.into_problem()).await;
        }
        let problem = invalid.into_problem();
        let reason = match problem.errors.first() {
            None => problem.detail.clone().unwrap_or_default(),
            Some(_) => "it names no merchant".to_owned(),
        };
        self.reply(delivery, &Reply::problem(problem));
        Outcome::Park { reason: format!("no command can be read from it: {reason}") }
    }

    pub(super) async fn reject_order(
        &self,
        delivery: &Delivery,
        key: &OrderKey,
        problem: Problem,
    ) -> Outcome {
        self.reject(delivery, &key.mch_id, key.out_trade_no.as_str(), problem).await
    }

    /// Rejects a command: stores the rejection, whose event is `order.rejected`, and replies.
    async fn reject(
        &self,
        delivery: &Delivery,
        mch_id: &MchId,
        out_trade_no: &str,
        problem: Problem,
    ) -> Outcome {
        record_order(mch_id, out_trade_no);
        let command_id = identity::command_id(delivery);
        let at = clock::now();
        let traceparent = traceparent::of(delivery);
        let store = &self.service.store;
        let rejected =
            store.reject(&command_id, mch_id, out_trade_no, &problem, at, traceparent).await;
        if let Err(error) = rejected {
            return store_failed(&error);
        }
        tracing::info!(problem = problem.kind, "the command was rejected");
        self.reply(delivery, &Reply::problem(problem));
        Outcome::Done
    }
}

/// What to do with a command that the store did not take.
pub(super) fn store_failed(error: &StoreError) -> Outcome {
    tracing::warn!(%error, "a command could not be stored; it is delivered again");
    match error {
        StoreError::Unavailable(_) => Outcome::Snooze(DATABASE_SNOOZE),
        StoreError::Conflict(_) | StoreError::Fault(_) => {
            Outcome::Retry { reason: error.to_string() }
        }
    }
}

/// Puts the order into the span of the command, so that every log line inside names it.
pub(super) fn record_order(mch_id: &MchId, out_trade_no: &str) {
    let span = Span::current();
    span.record("mch_id", field::display(mch_id));
    span.record("out_trade_no", out_trade_no);
}

pub(super) fn record_key(key: &OrderKey) {
    record_order(&key.mch_id, key.out_trade_no.as_str());
}
