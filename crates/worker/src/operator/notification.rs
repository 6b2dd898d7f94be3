//! `notification`: what WeChat posted, as it was kept; read, and judged anew by today's code.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use orders::{OrderKey, OrderView};
use wechatpay_v2::{MchId, OutTradeNo};
use worker::replay::{self, Evaluation, Mode, Replayed};
use worker::settings;
use worker::store::{DigestPrefix, NotificationSummary, Store, StoredNotification};

use super::elements::elements;
use super::output::{or_dash, pairs, plain, print, print_bytes, table, utc};
use super::{FAILED, action, mch_id, store};

/// Digits of a digest that tell notifications apart for a person.
const DIGEST_SHORT: usize = 12;

#[derive(Subcommand)]
pub(crate) enum NotificationVerb {
    /// List those about an order
    List {
        /// The merchant's number
        #[arg(value_parser = mch_id)]
        mch_id: MchId,
        /// The order's number; - for those that no order is known of, as of bad signatures
        #[arg(value_parser = number)]
        out_trade_no: Number,
    },
    /// Show one: what became of it, and its elements without secrets
    Show {
        #[command(flatten)]
        which: Which,
        /// The raw body instead, with the payer and the signature in it
        #[arg(long)]
        raw: bool,
    },
    /// Judge one again with today's code and keys
    Replay {
        #[command(flatten)]
        which: Which,
        /// Only tell what would come of it
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Args)]
pub(crate) struct Which {
    /// Its digest, or how that begins
    #[arg(value_name = "DIGEST", value_parser = digest)]
    digest: DigestPrefix,
}

/// An order's number, or that there is none.
#[derive(Clone)]
pub(crate) struct Number(Option<OutTradeNo>);

pub(crate) async fn run(verb: NotificationVerb) -> anyhow::Result<ExitCode> {
    let store = store()?;
    match verb {
        NotificationVerb::List { mch_id, out_trade_no } => list(&store, mch_id, out_trade_no).await,
        NotificationVerb::Show { which, raw } => show(&store, &which, raw).await,
        NotificationVerb::Replay { which, dry_run } => replay(&store, &which, dry_run).await,
    }
}

async fn list(store: &Store, mch_id: MchId, Number(number): Number) -> anyhow::Result<ExitCode> {
    let lines = match number {
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

async fn show(store: &Store, which: &Which, raw: bool) -> anyhow::Result<ExitCode> {
    let Some(kept) = one(store, which).await? else {
        return Ok(FAILED);
    };
    if raw {
        print_bytes(&kept.raw)?;
        return Ok(ExitCode::SUCCESS);
    }
    let head = pairs(&[
        ("digest", hex(&kept.digest)),
        ("kind", kept.kind.clone()),
        ("merchant", kept.mch_id.clone()),
        ("order", or_dash(kept.out_trade_no.as_deref())),
        ("transaction", or_dash(kept.transaction_id.as_deref())),
        ("received", utc(kept.received_at)),
        ("repeats", format!("{}, the last {}", kept.repeats, utc(kept.last_received_at))),
        ("verdict", kept.verdict.clone()),
        ("detail", or_dash(kept.detail.as_deref())),
        ("bytes", kept.raw.len().to_string()),
    ]);
    print(&format!("{head}\n{}", elements(&kept.raw)))?;
    Ok(ExitCode::SUCCESS)
}

async fn replay(store: &Store, which: &Which, dry_run: bool) -> anyhow::Result<ExitCode> {
    let merchants = settings::merchants()?;
    let Some(kept) = one(store, which).await? else {
        return Ok(FAILED);
    };
    let digest = &hex(&kept.digest)[..DIGEST_SHORT];
    let subject = match &kept.out_trade_no {
        Some(number) => format!("{}/{number} {digest}", kept.mch_id),
        None => format!("{digest} to {}", kept.mch_id),
    };
    let action = action("notification replay", subject, None);
    let mode = if dry_run { Mode::DryRun } else { Mode::Commit(&action) };
    let judged = match replay::notification(store, &merchants, &kept, mode).await? {
        Replayed::Evaluated(judged) => judged,
        Replayed::Skipped(why) => {
            eprintln!("it is not judged: {why}");
            return Ok(FAILED);
        }
    };
    print(&told(&kept, &judged, dry_run))?;
    Ok(ExitCode::SUCCESS)
}

fn told(kept: &StoredNotification, judged: &Evaluation, dry_run: bool) -> String {
    let why = |detail: &Option<String>| {
        detail.as_deref().map(|detail| format!(", {}", plain(detail))).unwrap_or_default()
    };
    let order = match (&judged.key, &judged.before, &judged.after) {
        (Some(key), Some(before), Some(after)) => {
            format!("{key}  {}", change(before, after, dry_run))
        }
        (Some(key), _, _) => format!("{key}  not known"),
        (None, _, _) => "-".to_owned(),
    };
    let kept_as = match dry_run {
        true => "nothing: a dry run",
        false => "the verdict, and what it caused",
    };
    pairs(&[
        ("digest", hex(&kept.digest)),
        ("received", utc(kept.received_at)),
        ("verdict then", format!("{}{}", kept.verdict, why(&kept.detail))),
        ("verdict now", format!("{}{}", judged.status.as_str(), why(&judged.detail))),
        ("order", order),
        ("written", kept_as.to_owned()),
    ])
}

fn change(before: &OrderView, after: &OrderView, dry_run: bool) -> String {
    let verb = if dry_run { "would become" } else { "became" };
    let state = |view: &OrderView| format!("{} (seq {})", view.state, view.seq);
    let mut text = match before.seq == after.seq {
        true => format!("{} as before", state(after)),
        false => format!("{} {verb} {}", state(before), state(after)),
    };
    let new = after.exceptions.iter().filter(|open| !before.exceptions.contains(open));
    for exception in new {
        text += &format!(", exception {}", exception.kind.as_str());
    }
    text
}

/// The notification that is meant; says so when there is not one.
async fn one(store: &Store, which: &Which) -> anyhow::Result<Option<StoredNotification>> {
    let mut found = store.notifications_by_digest(&which.digest).await?;
    match found.len() {
        0 => eprintln!("no notification has this digest"),
        1 => return Ok(found.pop()),
        _ => eprintln!("several notifications begin so; give more of the digest"),
    }
    Ok(None)
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn digest(text: &str) -> Result<DigestPrefix, &'static str> {
    DigestPrefix::parse(text).ok_or("must be 1 to 64 hex digits")
}

fn number(text: &str) -> Result<Number, String> {
    match text {
        "-" => Ok(Number(None)),
        _ => OutTradeNo::parse(text).map(|it| Number(Some(it))).map_err(|error| error.to_string()),
    }
}
