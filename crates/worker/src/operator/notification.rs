//! `notification`: what WeChat posted, as it was stored; show it, and replay it with today's code
//! and keys.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use orders::{OrderKey, OrderView};
use service::{Settings, hex};
use wechatpay_v2::{MchId, OutTradeNo};

use super::args::mch_id;
use super::elements::elements;
use super::output::{or_dash, pairs, plain, print, print_bytes, state_and_seq, table, utc};
use super::{FAILED, action, store};
use crate::config;
use crate::replay::{self, Evaluation, Mode, Replayed};
use crate::store::{DigestPrefix, NotificationSummary, Store, StoredNotification};

/// Digits of a digest that are enough to tell notifications apart.
pub(super) const DIGEST_SHORT: usize = 12;

#[derive(Subcommand)]
pub(crate) enum NotificationVerb {
    /// List the notifications about an order
    List {
        /// The number of the merchant
        #[arg(value_parser = mch_id)]
        mch_id: MchId,
        /// The number of the order; - for notifications without a known order, such as bad
        /// signatures
        #[arg(value_parser = number)]
        out_trade_no: NumberOrDash,
    },
    /// Show a notification: what became of it, and its elements without secrets
    Show {
        #[command(flatten)]
        which: DigestArgument,
        /// Print the raw body instead, including the payer and the signature
        #[arg(long)]
        raw: bool,
    },
    /// Evaluate a notification again with today's code and keys
    Replay {
        #[command(flatten)]
        which: DigestArgument,
        /// Only print what would happen
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Args)]
pub(crate) struct DigestArgument {
    /// The digest, or its first digits
    #[arg(value_name = "DIGEST", value_parser = digest)]
    digest: DigestPrefix,
}

/// An order's number; `None` for `-`.
#[derive(Clone)]
pub(crate) struct NumberOrDash(Option<OutTradeNo>);

pub(crate) async fn run(verb: NotificationVerb) -> anyhow::Result<ExitCode> {
    let store = store()?;
    match verb {
        NotificationVerb::List { mch_id, out_trade_no } => {
            list(&store, mch_id, out_trade_no.0).await
        }
        NotificationVerb::Show { which, raw } => show(&store, &which, raw).await,
        NotificationVerb::Replay { which, dry_run } => replay(&store, &which, dry_run).await,
    }
}

async fn list(
    store: &Store,
    mch_id: MchId,
    out_trade_no: Option<OutTradeNo>,
) -> anyhow::Result<ExitCode> {
    let lines = match out_trade_no {
        Some(out_trade_no) => store.notifications_of(&OrderKey { mch_id, out_trade_no }).await?,
        None => store.notifications_without_order(&mch_id).await?,
    };
    if lines.is_empty() {
        print("no notifications\n")?;
        return Ok(FAILED);
    }
    let row = |line: &NotificationSummary| {
        [
            utc(line.received_at),
            line.digest[..DIGEST_SHORT].to_owned(),
            line.kind.clone(),
            line.verdict.clone(),
            line.repeats.to_string(),
            utc(line.last_received_at),
            or_dash(line.detail.as_deref()),
        ]
    };
    let rows: Vec<_> = lines.iter().map(row).collect();
    let head = ["RECEIVED", "DIGEST", "KIND", "VERDICT", "REPEATS", "LAST", "DETAIL"];
    print(&table(head, &rows))?;
    Ok(ExitCode::SUCCESS)
}

async fn show(store: &Store, which: &DigestArgument, raw: bool) -> anyhow::Result<ExitCode> {
    let Some(stored) = find_one(store, which).await? else {
        return Ok(FAILED);
    };
    if raw {
        print_bytes(&stored.raw)?;
        return Ok(ExitCode::SUCCESS);
    }
    let head = pairs(&[
        ("digest", hex::encode(&stored.digest)),
        ("kind", stored.kind.clone()),
        ("merchant", stored.mch_id.clone()),
        ("order", or_dash(stored.out_trade_no.as_deref())),
        ("transaction", or_dash(stored.transaction_id.as_deref())),
        ("received", utc(stored.received_at)),
        ("repeats", format!("{}, the last {}", stored.repeats, utc(stored.last_received_at))),
        ("verdict", stored.verdict.clone()),
        ("detail", or_dash(stored.detail.as_deref())),
        ("bytes", stored.raw.len().to_string()),
    ]);
    print(&format!("{head}\n{}", elements(&stored.raw)))?;
    Ok(ExitCode::SUCCESS)
}

async fn replay(store: &Store, which: &DigestArgument, dry_run: bool) -> anyhow::Result<ExitCode> {
    let merchants = config::merchants(&Settings::from_env())?;
    let Some(stored) = find_one(store, which).await? else {
        return Ok(FAILED);
    };
    let digest = &hex::encode(&stored.digest)[..DIGEST_SHORT];
    let subject = match &stored.out_trade_no {
        Some(number) => format!("{}/{number} {digest}", stored.mch_id),
        None => format!("{digest} to {}", stored.mch_id),
    };
    let action = action("notification replay", subject, None);
    let mode = if dry_run { Mode::DryRun } else { Mode::Commit(&action) };
    let evaluation = match replay::notification(store, &merchants, &stored, mode).await? {
        Replayed::Evaluated(evaluation) => evaluation,
        Replayed::Skipped(why) => {
            eprintln!("the notification is not evaluated: {why}");
            return Ok(FAILED);
        }
    };
    print(&format_evaluation(&stored, &evaluation, dry_run))?;
    Ok(ExitCode::SUCCESS)
}

fn format_evaluation(
    stored: &StoredNotification,
    evaluation: &Evaluation,
    dry_run: bool,
) -> String {
    let because = |detail: &Option<String>| {
        detail.as_deref().map(|detail| format!(", {}", plain(detail))).unwrap_or_default()
    };
    let order = match (&evaluation.key, &evaluation.before, &evaluation.after) {
        (Some(key), Some(before), Some(after)) => {
            format!("{key}  {}", format_change(before, after, dry_run))
        }
        (Some(key), _, _) => format!("{key}  not known"),
        (None, _, _) => "-".to_owned(),
    };
    let written =
        if dry_run { "nothing: a dry run" } else { "the verdict, and everything it caused" };
    let before = format!("{}{}", stored.verdict, because(&stored.detail));
    let now = format!("{}{}", evaluation.status.as_str(), because(&evaluation.detail));
    pairs(&[
        ("digest", hex::encode(&stored.digest)),
        ("received", utc(stored.received_at)),
        ("verdict then", before),
        ("verdict now", now),
        ("order", order),
        ("written", written.to_owned()),
    ])
}

fn format_change(before: &OrderView, after: &OrderView, dry_run: bool) -> String {
    let mut text = if before.seq == after.seq {
        format!("{} as before", state_and_seq(after))
    } else {
        let verb = if dry_run { "would become" } else { "became" };
        format!("{} {verb} {}", state_and_seq(before), state_and_seq(after))
    };
    let new = after.exceptions.iter().filter(|open| !before.exceptions.contains(open));
    for exception in new {
        text += &format!(", exception {}", exception.kind.as_str());
    }
    text
}

/// The notification with this digest. Prints why when there is not exactly one.
async fn find_one(
    store: &Store,
    which: &DigestArgument,
) -> anyhow::Result<Option<StoredNotification>> {
    let mut found = store.notifications_by_digest(&which.digest).await?;
    match found.len() {
        0 => eprintln!("no notification has this digest"),
        1 => return Ok(found.pop()),
        _ => eprintln!("several notifications have this digest prefix; give more digits"),
    }
    Ok(None)
}

fn digest(text: &str) -> Result<DigestPrefix, &'static str> {
    DigestPrefix::parse(text).ok_or("must be 1 to 64 hex digits")
}

fn number(text: &str) -> Result<NumberOrDash, String> {
    if text == "-" {
        return Ok(NumberOrDash(None));
    }
    let number = OutTradeNo::parse(text).map_err(|error| error.to_string())?;
    Ok(NumberOrDash(Some(number)))
}
