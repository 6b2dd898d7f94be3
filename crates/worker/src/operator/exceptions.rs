//! `exceptions`: money or identities that do not fit, and wait for an operator.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use orders::{ExceptionKind, OrderKey};
use wechatpay_v2::{MchId, OutTradeNo};

use super::args::mch_id;
use super::output::{differing, or_dash, plain, print, print_json, state_and_seq, table, utc};
use super::{FAILED, action, store};
use crate::store::{CallLine, ExceptionId, ExceptionLine, Resolution, Store};

#[derive(Subcommand)]
pub(crate) enum ExceptionsVerb {
    /// List open exceptions, oldest first
    List(List),
    /// Show all exceptions of a number, with what differs and the calls to WeChat
    Show {
        #[command(flatten)]
        number: ExceptionNumber,
        /// Print JSON for a program
        #[arg(long)]
        json: bool,
    },
    /// Resolve an exception; if it stopped the checks of its order, they resume
    Resolve(Resolve),
}

#[derive(Args)]
pub(crate) struct List {
    /// Only exceptions of this kind
    #[arg(long, value_parser = kind)]
    kind: Option<ExceptionKind>,
    /// Also list resolved exceptions
    #[arg(long)]
    all: bool,
    /// At most this many
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// Print JSON for a program
    #[arg(long)]
    json: bool,
}

/// A number that may be no order's.
#[derive(Args)]
pub(crate) struct ExceptionNumber {
    /// The number of the merchant
    #[arg(value_parser = mch_id)]
    mch_id: MchId,
    /// The number of the order; - for bad signatures
    out_trade_no: String,
}

#[derive(Args)]
pub(crate) struct Resolve {
    #[command(flatten)]
    number: ExceptionNumber,
    /// The kind of the exception
    #[arg(value_parser = kind)]
    kind: ExceptionKind,
    /// Which one, where several of a kind are open
    #[arg(long, value_name = "ID")]
    transaction_id: Option<String>,
    /// What was done about it
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    reason: String,
}

pub(crate) async fn run(verb: ExceptionsVerb) -> anyhow::Result<ExitCode> {
    let store = store()?;
    match verb {
        ExceptionsVerb::List(arguments) => list(&store, &arguments).await,
        ExceptionsVerb::Show { number, json } => show(&store, &number, json).await,
        ExceptionsVerb::Resolve(arguments) => resolve(&store, arguments).await,
    }
}

async fn list(store: &Store, arguments: &List) -> anyhow::Result<ExitCode> {
    let limit = arguments.limit;
    // One more than the limit shows that there are more.
    let mut lines = store.exceptions(arguments.kind, arguments.all, i64::from(limit) + 1).await?;
    let is_cut = lines.len() > limit as usize;
    lines.truncate(limit as usize);
    if arguments.json {
        print_json(&lines)?;
    } else if lines.is_empty() {
        print("no exceptions\n")?;
    } else {
        print(&format_list(&lines))?;
    }
    if is_cut {
        eprintln!("there are more exceptions: raise --limit");
    }
    Ok(ExitCode::SUCCESS)
}

fn format_list(lines: &[ExceptionLine]) -> String {
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

async fn show(store: &Store, number: &ExceptionNumber, json: bool) -> anyhow::Result<ExitCode> {
    let mch_id = number.mch_id.as_str();
    let out_trade_no = number.out_trade_no.as_str();
    let exceptions = store.exceptions_of(mch_id, out_trade_no).await?;
    let calls = store.calls_of(mch_id, out_trade_no).await?;
    let state = state(store, number).await?;
    if json {
        let document =
            serde_json::json!({ "state": state, "exceptions": exceptions, "calls": calls });
        print_json(&document)?;
    } else if exceptions.is_empty() {
        print(&format!("no exception of {mch_id}/{}\n", plain(out_trade_no)))?;
    } else {
        let state = state.unwrap_or_else(|| "no order of this number".to_owned());
        let head = format!("{mch_id}/{}  {state}\n", plain(out_trade_no));
        let calls = format_calls(&calls);
        print(&format!("{head}{}{calls}", format_exceptions(&exceptions)))?;
    }
    Ok(if exceptions.is_empty() { FAILED } else { ExitCode::SUCCESS })
}

async fn state(store: &Store, number: &ExceptionNumber) -> anyhow::Result<Option<String>> {
    let Ok(out_trade_no) = OutTradeNo::parse(number.out_trade_no.as_str()) else {
        return Ok(None);
    };
    let key = OrderKey { mch_id: number.mch_id.clone(), out_trade_no };
    Ok(store.view(&key).await?.as_ref().map(state_and_seq))
}

fn format_exceptions(exceptions: &[ExceptionLine]) -> String {
    let mut text = String::new();
    for line in exceptions {
        let payment = match line.transaction_id.as_str() {
            "" => String::new(),
            id => format!("  {}", plain(id)),
        };
        let found = match line.found_count {
            1 => String::new(),
            count => format!(", found {count} times"),
        };
        let _ = writeln!(text, "\n{}{payment}", line.kind);
        let _ = writeln!(text, "  opened    {}{found}", utc(line.opened_at));
        if let (Some(at), Some(resolution)) = (line.resolved_at, &line.resolution) {
            let _ = writeln!(text, "  resolved  {}: {}", utc(at), plain(resolution));
        }
        for it in line.differs.iter() {
            let ours = plain(&it.ours);
            let theirs = plain(&it.theirs);
            let _ = writeln!(text, "  {}: the order says {ours}, WeChat says {theirs}", it.field);
        }
    }
    text
}

fn format_calls(calls: &[CallLine]) -> String {
    if calls.is_empty() {
        return String::new();
    }
    let row = |call: &CallLine| {
        let took = format!("{} ms", call.duration_ms);
        let detail = or_dash(call.detail.as_deref());
        [utc(call.at), call.api.clone(), call.verdict.clone(), took, detail]
    };
    let rows: Vec<_> = calls.iter().map(row).collect();
    format!("\n{}", table(["CALLED", "API", "ANSWER", "TOOK", "DETAIL"], &rows))
}

async fn resolve(store: &Store, arguments: Resolve) -> anyhow::Result<ExitCode> {
    let Resolve { number, kind, transaction_id, reason } = arguments;
    let mch_id = number.mch_id.to_string();
    let out_trade_no = number.out_trade_no;
    let name = format!("{} of {mch_id}/{}", kind.as_str(), plain(&out_trade_no));
    let mut subject = format!("{mch_id}/{out_trade_no} {}", kind.as_str());
    if let Some(id) = &transaction_id {
        subject += &format!(" {id}");
    }
    let action = action("exceptions resolve", subject, Some(&reason));
    let id = ExceptionId { mch_id, out_trade_no, kind, transaction_id };
    let failure = match store.resolve_exception(&id, &reason, &action).await? {
        Resolution::Resolved { polled } => {
            let next = if polled { "; WeChat is queried about the order again" } else { "" };
            print(&format!("{name} is resolved{next}\n"))?;
            return Ok(ExitCode::SUCCESS);
        }
        Resolution::Already { at, resolution } => {
            format!("{name} was resolved {}: {}", utc(at), plain(&resolution))
        }
        Resolution::Several(ids) => {
            let ids = plain(&ids.join(", "));
            format!("{name} is open several times; give --transaction-id, one of {ids}")
        }
        Resolution::Unknown => format!("{name} is not known"),
    };
    eprintln!("{failure}");
    Ok(FAILED)
}

fn kind(text: &str) -> Result<ExceptionKind, String> {
    let names = || ExceptionKind::ALL.map(ExceptionKind::as_str).join(", ");
    ExceptionKind::parse(text).ok_or_else(|| format!("must be one of {}", names()))
}
