//! `exceptions`: money or identity that does not fit, and waits for a person.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use orders::{Difference, ExceptionKind, OrderKey};
use wechatpay_v2::{MchId, OutTradeNo};
use worker::store::{CallLine, ExceptionId, ExceptionLine, Resolution, Store};

use super::output::{or_dash, plain, print, print_json, table, utc};
use super::{FAILED, action, mch_id, store};

#[derive(Subcommand)]
pub(crate) enum ExceptionsVerb {
    /// List those that are open, oldest first
    List(List),
    /// Show all of a number, with what differs and what WeChat was asked
    Show {
        #[command(flatten)]
        number: Number,
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// Close the books on one, and have its order looked at again where it stopped that
    Resolve(Resolve),
}

#[derive(Args)]
pub(crate) struct List {
    /// Only of this kind
    #[arg(long, value_parser = kind)]
    kind: Option<ExceptionKind>,
    /// Also those that are resolved
    #[arg(long)]
    all: bool,
    /// At most so many
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// For programs
    #[arg(long)]
    json: bool,
}

/// A number about which something does not fit.
#[derive(Args)]
pub(crate) struct Number {
    /// The merchant's number
    #[arg(value_parser = mch_id)]
    mch_id: MchId,
    /// The order's number; - for bad signatures
    out_trade_no: String,
}

#[derive(Args)]
pub(crate) struct Resolve {
    #[command(flatten)]
    number: Number,
    /// Its kind
    #[arg(value_parser = kind)]
    kind: ExceptionKind,
    /// Which, where several of a kind are open
    #[arg(long, value_name = "ID")]
    transaction_id: Option<String>,
    /// What was done about it
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    reason: String,
}

pub(crate) async fn run(verb: ExceptionsVerb) -> anyhow::Result<ExitCode> {
    let store = store()?;
    match verb {
        ExceptionsVerb::List(which) => list(&store, &which).await,
        ExceptionsVerb::Show { number, json } => show(&store, &number, json).await,
        ExceptionsVerb::Resolve(which) => resolve(&store, which).await,
    }
}

async fn list(store: &Store, which: &List) -> anyhow::Result<ExitCode> {
    // One more tells that there are more.
    let limit = which.limit as usize;
    let mut lines = store.exceptions(which.kind, which.all, i64::from(which.limit) + 1).await?;
    let is_cut = lines.len() > limit;
    lines.truncate(limit);
    if which.json {
        print_json(&lines)?;
    } else if lines.is_empty() {
        print("no exceptions\n")?;
    } else {
        print(&listed(&lines))?;
    }
    if is_cut {
        eprintln!("there are more: --limit");
    }
    Ok(ExitCode::SUCCESS)
}

fn listed(lines: &[ExceptionLine]) -> String {
    let head =
        ["OPENED", "KIND", "MCH_ID", "OUT_TRADE_NO", "TRANSACTION_ID", "FOUND", "RESOLVED", "WHAT"];
    let row = |line: &ExceptionLine| {
        [
            utc(line.opened_at),
            line.kind.clone(),
            line.mch_id.clone(),
            plain(&line.out_trade_no),
            or_dash(Some(&line.transaction_id)),
            line.found_count.to_string(),
            line.resolved_at.map_or_else(|| "-".to_owned(), utc),
            or_dash(Some(&differing(&line.differs))),
        ]
    };
    table(head, &lines.iter().map(row).collect::<Vec<_>>())
}

/// `total_fee: ours 9900, theirs 9901`.
pub(super) fn differing(differs: &[Difference]) -> String {
    let one =
        |it: &Difference| plain(&format!("{}: ours {}, theirs {}", it.field, it.ours, it.theirs));
    differs.iter().map(one).collect::<Vec<_>>().join("; ")
}

async fn show(store: &Store, number: &Number, json: bool) -> anyhow::Result<ExitCode> {
    let (mch_id, out_trade_no) = (number.mch_id.as_str(), number.out_trade_no.as_str());
    let exceptions = store.exceptions_of(mch_id, out_trade_no).await?;
    let calls = store.calls_of(mch_id, out_trade_no).await?;
    let state = state(store, number).await?;
    if json {
        let shown = serde_json::json!({ "state": state, "exceptions": exceptions, "calls": calls });
        print_json(&shown)?;
    } else if exceptions.is_empty() {
        print(&format!("no exception of {mch_id}/{}\n", plain(out_trade_no)))?;
    } else {
        let state = state.unwrap_or_else(|| "no order of this number".to_owned());
        let head = format!("{mch_id}/{}  {state}\n", plain(out_trade_no));
        print(&(head + &shown(&exceptions, &calls)))?;
    }
    Ok(if exceptions.is_empty() { FAILED } else { ExitCode::SUCCESS })
}

async fn state(store: &Store, number: &Number) -> anyhow::Result<Option<String>> {
    let Ok(out_trade_no) = OutTradeNo::parse(number.out_trade_no.as_str()) else {
        return Ok(None);
    };
    let key = OrderKey { mch_id: number.mch_id.clone(), out_trade_no };
    let view = store.view(&key).await?;
    Ok(view.map(|view| format!("{} (seq {})", view.state, view.seq)))
}

fn shown(exceptions: &[ExceptionLine], calls: &[CallLine]) -> String {
    let mut text = String::new();
    for line in exceptions {
        let about = match line.transaction_id.as_str() {
            "" => String::new(),
            id => format!("  {}", plain(id)),
        };
        let found = match line.found_count {
            1 => String::new(),
            count => format!(", found {count} times"),
        };
        let _ = writeln!(text, "\n{}{about}", line.kind);
        let _ = writeln!(text, "  opened    {}{found}", utc(line.opened_at));
        if let (Some(at), Some(resolution)) = (line.resolved_at, &line.resolution) {
            let _ = writeln!(text, "  resolved  {}: {}", utc(at), plain(resolution));
        }
        for it in line.differs.iter() {
            let (ours, theirs) = (plain(&it.ours), plain(&it.theirs));
            let _ = writeln!(text, "  {}: the order says {ours}, WeChat says {theirs}", it.field);
        }
    }
    if !calls.is_empty() {
        let row = |call: &CallLine| {
            let took = format!("{} ms", call.duration_ms);
            let detail = or_dash(call.detail.as_deref());
            [utc(call.at), call.api.clone(), call.verdict.clone(), took, detail]
        };
        let rows: Vec<_> = calls.iter().map(row).collect();
        let _ = write!(text, "\n{}", table(["CALLED", "API", "ANSWER", "TOOK", "DETAIL"], &rows));
    }
    text
}

async fn resolve(store: &Store, which: Resolve) -> anyhow::Result<ExitCode> {
    let Resolve { number, kind, transaction_id, reason } = which;
    let (mch_id, out_trade_no) = (number.mch_id.to_string(), number.out_trade_no);
    let name = format!("{} of {mch_id}/{}", kind.as_str(), plain(&out_trade_no));
    let mut subject = format!("{mch_id}/{out_trade_no} {}", kind.as_str());
    if let Some(id) = &transaction_id {
        subject += &format!(" {id}");
    }
    let action = action("exceptions resolve", subject, Some(&reason));
    let id = ExceptionId { mch_id, out_trade_no, kind, transaction_id };
    let (done, text) = match store.resolve_exception(&id, &reason, &action).await? {
        Resolution::Resolved { polled: false } => (true, format!("{name} is resolved")),
        Resolution::Resolved { polled: true } => {
            (true, format!("{name} is resolved; WeChat is asked about the order again"))
        }
        Resolution::Already { at, resolution } => {
            (false, format!("{name} was resolved {}: {}", utc(at), plain(&resolution)))
        }
        Resolution::Several(ids) => {
            let ids = plain(&ids.join(", "));
            (false, format!("{name} is open several times; give --transaction-id, one of {ids}"))
        }
        Resolution::Unknown => (false, format!("{name} is not known")),
    };
    if done {
        print(&format!("{text}\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("{text}");
    Ok(FAILED)
}

fn kind(text: &str) -> Result<ExceptionKind, String> {
    let names = || ExceptionKind::ALL.map(ExceptionKind::as_str).join(", ");
    ExceptionKind::parse(text).ok_or_else(|| format!("must be one of {}", names()))
}
