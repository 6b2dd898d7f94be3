//! `parked`: the messages that wait for an operator in the dead-letter queues. Bodies are never
//! shown.

mod format;

use std::process::ExitCode;

use broker::{Delivery, ParkedBatch, ParkedMessage, ParkedQueue};
use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use orders::OrderKey;

use super::args;
use super::output::{counted, plain, print, table};
use super::{FAILED, action, broker_config, store};
use crate::store::{OperatorAction, Store};
use format::{format_message, order_of, row, sha256};

/// Positions that are listed when several messages match.
const POSITIONS_MAX: usize = 10;

#[derive(Subcommand)]
pub(crate) enum ParkedVerb {
    /// List parked messages, oldest first
    List {
        /// orders, notifications or unrouted; all of them by default
        #[arg(value_parser = queue)]
        queue: Option<ParkedQueue>,
    },
    /// Show one message without its body
    Show(MessageArguments),
    /// Send one message, or all of a queue, to where it came from, as a first attempt
    Replay {
        /// orders, notifications or unrouted
        #[arg(value_parser = queue)]
        queue: ParkedQueue,
        /// Its message_id, its sha256, or #1 for the oldest
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        id: Option<String>,
        /// Every message of the queue, up to 1000
        #[arg(long)]
        all: bool,
    },
    /// Discard one message for good
    Discard {
        #[command(flatten)]
        which: MessageArguments,
        /// Why the message is discarded
        #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
        reason: String,
    },
}

#[derive(Args)]
pub(crate) struct MessageArguments {
    /// orders, notifications or unrouted
    #[arg(value_parser = queue)]
    queue: ParkedQueue,
    /// Its message_id, its sha256, or #1 for the oldest
    id: String,
}

pub(crate) async fn run(verb: ParkedVerb) -> anyhow::Result<ExitCode> {
    match verb {
        ParkedVerb::List { queue } => list(queue).await,
        ParkedVerb::Show(which) => show(&which).await,
        ParkedVerb::Replay { queue, id, all: _ } => {
            let store = store()?;
            let replay =
                async |batch: &mut ParkedBatch| replay(&store, batch, queue, id.as_deref()).await;
            with_batch(queue, replay).await
        }
        ParkedVerb::Discard { which, reason } => {
            let store = store()?;
            let discard =
                async |batch: &mut ParkedBatch| discard(&store, batch, &which, &reason).await;
            with_batch(which.queue, discard).await
        }
    }
}

/// Takes the messages of a queue, acts on them, and requeues those that are left.
async fn with_batch(
    queue: ParkedQueue,
    act: impl AsyncFnOnce(&mut ParkedBatch) -> anyhow::Result<ExitCode>,
) -> anyhow::Result<ExitCode> {
    let mut batch = ParkedBatch::take(&broker_config("parked")?, queue).await?;
    let done = act(&mut batch).await;
    batch.requeue().await;
    done
}

async fn list(queue: Option<ParkedQueue>) -> anyhow::Result<ExitCode> {
    let queues = queue.map_or_else(|| ParkedQueue::ALL.to_vec(), |queue| vec![queue]);
    let mut rows = Vec::new();
    let mut remaining = 0;
    for queue in queues {
        with_batch(queue, async |batch| {
            rows.extend(batch.messages().map(|message| row(queue, message)));
            remaining += batch.remaining();
            Ok(ExitCode::SUCCESS)
        })
        .await?;
    }
    if rows.is_empty() {
        print("nothing is parked\n")?;
        return Ok(ExitCode::SUCCESS);
    }
    let head = ["QUEUE", "#", "ID", "PARKED", "ATTEMPT", "KEY", "BYTES", "ORDER", "REASON"];
    print(&table(head, &rows))?;
    if remaining > 0 {
        eprintln!("{remaining} more are parked behind these");
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(which: &MessageArguments) -> anyhow::Result<ExitCode> {
    with_batch(which.queue, async |batch| {
        let Some(message) = find_one(batch, &which.id) else {
            return Ok(FAILED);
        };
        print(&format_message(which.queue, message))?;
        Ok(ExitCode::SUCCESS)
    })
    .await
}

async fn replay(
    store: &Store,
    batch: &mut ParkedBatch,
    queue: ParkedQueue,
    id: Option<&str>,
) -> anyhow::Result<ExitCode> {
    let positions: Vec<usize> = match id {
        Some(id) => match find_one(batch, id) {
            Some(message) => vec![message.position],
            None => return Ok(FAILED),
        },
        None => batch.messages().map(|message| message.position).collect(),
    };
    let mut sent = 0;
    let mut left = 0;
    for position in positions {
        let found = batch.messages().find(|message| message.position == position);
        let Some(message) = found.filter(|message| message.is_replayable) else {
            left += 1;
            continue;
        };
        store.record_action(&message_action("parked replay", queue, message, None)).await?;
        if batch.replay(position).await? {
            sent += 1;
        } else {
            left += 1;
        }
    }
    print(&format!("{} sent again\n", counted(sent, "message")))?;
    if left > 0 {
        eprintln!("{} left: no queue is bound for the routing key", counted(left, "message"));
    }
    Ok(if sent == 0 { FAILED } else { ExitCode::SUCCESS })
}

async fn discard(
    store: &Store,
    batch: &mut ParkedBatch,
    which: &MessageArguments,
    reason: &str,
) -> anyhow::Result<ExitCode> {
    let Some(message) = find_one(batch, &which.id) else {
        return Ok(FAILED);
    };
    let position = message.position;
    let description = format_message(which.queue, message);
    let action = message_action("parked discard", which.queue, message, Some(reason));
    store.record_action(&action).await?;
    batch.discard(position).await?;
    print(&format!("discarded:\n{description}"))?;
    Ok(ExitCode::SUCCESS)
}

/// The message with this id. Prints why when there is not exactly one.
fn find_one<'a>(batch: &'a ParkedBatch, id: &str) -> Option<&'a ParkedMessage> {
    let wanted = id.strip_prefix('#').and_then(|position| position.parse::<usize>().ok());
    let matches = |message: &&ParkedMessage| match wanted {
        Some(position) => message.position == position,
        None => {
            let delivery = &message.delivery;
            delivery.message_id_text.as_deref() == Some(id) || sha256(delivery) == id
        }
    };
    let found: Vec<&ParkedMessage> = batch.messages().filter(matches).collect();
    match found[..] {
        [message] => return Some(message),
        [] => eprintln!("no such message is parked there"),
        _ => {
            let some = found.iter().take(POSITIONS_MAX).map(|it| format!("#{}", it.position));
            let some = some.collect::<Vec<_>>().join(", ");
            eprintln!("{} messages have this id; give the position of one: {some}", found.len());
        }
    }
    None
}

/// An action on a message. Its subject begins with the order, if the message is about one.
fn message_action(
    verb: &'static str,
    queue: ParkedQueue,
    message: &ParkedMessage,
    reason: Option<&str>,
) -> OperatorAction {
    let delivery = &message.delivery;
    let key = order_key(delivery).map(|key| format!("{key} ")).unwrap_or_default();
    let id = delivery.message_id_text.as_deref().map(|id| format!(" {}", plain(id)));
    let id = id.unwrap_or_default();
    let subject = format!("{key}{queue}{id} sha256 {}", sha256(delivery));
    action(verb, subject, reason)
}

fn order_key(delivery: &Delivery) -> Option<OrderKey> {
    args::order_key(&order_of(delivery)?).ok()
}

fn queue(text: &str) -> Result<ParkedQueue, &'static str> {
    ParkedQueue::parse(text).ok_or("must be orders, notifications or unrouted")
}
