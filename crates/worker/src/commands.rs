//! Handles the commands of shops: one command, one file.

mod close;
mod context;
mod create;
mod identity;
mod query;

use broker::{Delivery, Handler, Outcome, topology};
use futures_util::future::join_all;
use futures_util::join;
use service::metrics::names;
use tracing::{Instrument, Span, field, info_span};

use crate::traceparent;
use create::Command;

pub(crate) use context::CommandContext;

/// Handles the command queues.
pub(crate) struct Commands {
    context: CommandContext,
}

impl Handler for Commands {
    /// The creates of a batch are accepted together; every other command is handled alone.
    async fn handle(&self, batch: Vec<Delivery>) -> Vec<Outcome> {
        let is_create = |delivery: &&Delivery| delivery.routing_key == topology::ORDER_CREATE;
        let creates = batch.iter().filter(is_create);
        let creates = creates.map(|delivery| Command { delivery, span: span_of(delivery) });
        let creates: Vec<Command<'_>> = creates.collect();
        let others = batch.iter().filter(|delivery| !is_create(delivery));
        let others = join_all(others.map(|delivery| self.handle_one(delivery)));
        let (created, others) = join!(create::handle(&self.context, &creates), others);
        let (mut created, mut others) = (created.into_iter(), others.into_iter());
        let outcomes = batch.iter().filter_map(|delivery| {
            if is_create(&delivery) { created.next() } else { others.next() }
        });
        let outcomes: Vec<Outcome> = outcomes.collect();
        for (delivery, outcome) in batch.iter().zip(&outcomes) {
            count(delivery, outcome);
        }
        outcomes
    }
}

impl Commands {
    pub(crate) fn new(context: CommandContext) -> Self {
        Self { context }
    }

    async fn handle_one(&self, delivery: &Delivery) -> Outcome {
        let context = &self.context;
        let handle = async {
            match delivery.routing_key.as_str() {
                topology::ORDER_CLOSE => close::handle(context, delivery).await,
                topology::ORDER_QUERY => query::handle(context, delivery).await,
                _ => Outcome::Park { reason: "no such command".to_owned() },
            }
        };
        handle.instrument(span_of(delivery)).await
    }
}

fn kind_of(delivery: &Delivery) -> &'static str {
    match delivery.routing_key.as_str() {
        topology::ORDER_CREATE => "create",
        topology::ORDER_CLOSE => "close",
        topology::ORDER_QUERY => "query",
        _ => "other",
    }
}

fn span_of(delivery: &Delivery) -> Span {
    info_span!(
        "command",
        kind = kind_of(delivery),
        message_id = delivery.message_id_text,
        traceparent = traceparent::of(delivery),
        mch_id = field::Empty,
        out_trade_no = field::Empty,
    )
}

fn count(delivery: &Delivery, outcome: &Outcome) {
    let result = match outcome {
        Outcome::Done => "done",
        Outcome::Snooze(_) => "snooze",
        Outcome::Retry { .. } => "retry",
        Outcome::Park { .. } => "park",
    };
    let kind = kind_of(delivery);
    metrics::counter!(names::COMMANDS, "type" => kind, "result" => result).increment(1);
}
