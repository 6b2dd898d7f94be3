//! `parked`: what waits for a human in the broker. Bodies are never shown.

mod words;

use std::process::ExitCode;

use broker::{Delivery, ParkedBatch, ParkedMessage, ParkedQueue};
use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use orders::OrderKey;
use worker::store::{OperatorAction, Store};

use super::output::{plain, print, table};
use super::{FAILED, action, broker_config, store};
use words::{order_of, row, sha256, shown};

/// Places that are named when there are several.
const PLACES_MAX: usize = 10;

#[derive(Subcommand)]
pub(crate) enum ParkedVerb {
    /// List what waits, oldest first
    List {
        /// orders, notifications or unrouted; all of them unless given
        #[arg(value_parser = queue)]
        queue: Option<ParkedQueue>,
    },
    /// Show one message without its body
    Show(Which),
    /// Send one, or all, to where it came from, as a first attempt
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
    /// Throw one away
    Discard {
        #[command(flatten)]
        which: Which,
        /// Why
        #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
        reason: String,
    },
}

#[derive(Args)]
pub(crate) struct Which {
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
            with_parked_batch(queue, async |batch| {
                replay(&store, batch, queue, id.as_deref()).await
            })
            .await
        }
        ParkedVerb::Discard { which, reason } => {
            let store = store()?;
            with_parked_batch(which.queue, async |batch| {
                discard(&store, batch, &which, &reason).await
            })
            .await
        }
    }
}

/// Does something with the messages of a queue, and puts those back that are still there then.
async fn with_parked_batch(
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
    let (mut rows, mut beyond) = (Vec::new(), 0);
    for queue in queues {
        with_parked_batch(queue, async |batch| {
            rows.extend(batch.messages().map(|message| row(queue, message)));
            beyond += batch.remaining();
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
    if beyond > 0 {
        eprintln!("{beyond} more lie behind these");
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(which: &Which) -> anyhow::Result<ExitCode> {
    with_parked_batch(which.queue, async |batch| {
        let Some(position) = one(batch, &which.id) else {
            return Ok(FAILED);
        };
        let found = batch.messages().find(|message| message.position == position);
        print(&found.map(|message| shown(which.queue, message)).unwrap_or_default())?;
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
        Some(id) => match one(batch, id) {
            Some(position) => vec![position],
            None => return Ok(FAILED),
        },
        None => batch.messages().map(|message| message.position).collect(),
    };
    let (mut sent, mut left) = (0, 0);
    for position in positions {
        let found = batch.messages().find(|message| message.position == position);
        let Some(message) = found.filter(|message| message.is_replayable) else {
            left += 1;
            continue;
        };
        store.record_action(&act("parked replay", queue, message, None)).await?;
        match batch.replay(position).await? {
            true => sent += 1,
            false => left += 1,
        }
    }
    print(&format!("{sent} sent on their way again\n"))?;
    if left > 0 {
        eprintln!("{left} left: nothing is bound for their routing keys");
    }
    Ok(if sent == 0 { FAILED } else { ExitCode::SUCCESS })
}

async fn discard(
    store: &Store,
    batch: &mut ParkedBatch,
    which: &Which,
    reason: &str,
) -> anyhow::Result<ExitCode> {
    let Some(position) = one(batch, &which.id) else {
        return Ok(FAILED);
    };
    let Some(message) = batch.messages().find(|message| message.position == position) else {
        return Ok(FAILED);
    };
    let action = act("parked discard", which.queue, message, Some(reason));
    let what = shown(which.queue, message);
    store.record_action(&action).await?;
    batch.discard(position).await?;
    print(&format!("thrown away:\n{what}"))?;
    Ok(ExitCode::SUCCESS)
}

/// The position of the message that is meant; says so when there is not one.
fn one(batch: &ParkedBatch, id: &str) -> Option<usize> {
    let wanted = id.strip_prefix('#').and_then(|position| position.parse::<usize>().ok());
    let is_meant = |message: &&ParkedMessage| match wanted {
        Some(position) => message.position == position,
        None => {
            let delivery = &message.delivery;
            delivery.message_id_text.as_deref() == Some(id) || sha256(delivery) == id
        }
    };
    let found: Vec<usize> = batch.messages().filter(is_meant).map(|it| it.position).collect();
    match found[..] {
        [position] => return Some(position),
        [] => eprintln!("no such message is parked there"),
        _ => {
            let some = found.iter().take(PLACES_MAX).map(|place| format!("#{place}"));
            let some = some.collect::<Vec<_>>().join(", ");
            eprintln!("{} have this id; give the place of one: {some}", found.len());
        }
    }
    None
}

/// What is done to a message, under the order it is about, where that is known.
fn act(
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
    let text = order_of(delivery)?;
    super::events::order_key(&text).ok()
}

fn queue(text: &str) -> Result<ParkedQueue, &'static str> {
    ParkedQueue::parse(text).ok_or("must be orders, notifications or unrouted")
}
