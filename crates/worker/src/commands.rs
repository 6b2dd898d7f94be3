//! Handles the commands of shops: one command, one file.

mod close;
mod context;
mod create;
mod identity;
mod query;

use broker::{Delivery, Handler, Outcome, topology};
use futures_util::future::join_all;
use service::metrics::names;
use tracing::{Instrument, field, info_span};

use crate::traceparent;

pub(crate) use context::CommandContext;

/// Handles the command queues.
pub(crate) struct Commands {
    context: CommandContext,
}

impl Handler for Commands {
    async fn handle(&self, batch: Vec<Delivery>) -> Vec<Outcome> {
        join_all(batch.iter().map(|delivery| self.handle_one(delivery))).await
    }
}

impl Commands {
    pub(crate) fn new(context: CommandContext) -> Self {
        Self { context }
    }

    async fn handle_one(&self, delivery: &Delivery) -> Outcome {
        let kind = match delivery.routing_key.as_str() {
            topology::ORDER_CREATE => "create",
            topology::ORDER_CLOSE => "close",
            topology::ORDER_QUERY => "query",
            _ => "other",
        };
        let span = info_span!(
            "command",
            kind,
            message_id = delivery.message_id_text,
            traceparent = traceparent::of(delivery),
            mch_id = field::Empty,
            out_trade_no = field::Empty,
        );
        let context = &self.context;
        let handle = async {
            match kind {
                "create" => create::handle(context, delivery).await,
                "close" => close::handle(context, delivery).await,
                "query" => query::handle(context, delivery).await,
                _ => Outcome::Park { reason: "no such command".to_owned() },
            }
        };
        let outcome = handle.instrument(span).await;
        let result = match &outcome {
            Outcome::Done => "done",
            Outcome::Snooze(_) => "snooze",
            Outcome::Retry { .. } => "retry",
            Outcome::Park { .. } => "park",
        };
        metrics::counter!(names::COMMANDS, "type" => kind, "result" => result).increment(1);
        outcome
    }
}
