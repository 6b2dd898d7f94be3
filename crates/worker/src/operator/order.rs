//! `order`: show, check or close one order.

mod summary;

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Subcommand;
use clap::builder::NonEmptyStringValueParser;
use orders::{OrderKey, StateName};
use time::OffsetDateTime;

use super::args::{OrderArguments, instant};
use super::output::{pairs, plain, print, print_json, state_and_seq, utc};
use super::{FAILED, action, explain, store};
use crate::store::{CheckScope, Store, TimelineEvent};
use summary::Summary;

#[derive(Subcommand)]
pub(crate) enum OrderVerb {
    /// Show an order with its history
    Show {
        #[command(flatten)]
        order: OrderArguments,
        /// Print JSON for a program
        #[arg(long)]
        json: bool,
    },
    /// Show everything that happened to an order, in the order of time
    Explain {
        #[command(flatten)]
        order: OrderArguments,
        /// Print JSON for a program
        #[arg(long)]
        json: bool,
    },
    /// Query WeChat about an order now; a running worker does it
    Requery {
        #[command(flatten)]
        order: OrderArguments,
    },
    /// Query WeChat about every order that was closed since a time, for example after the broker
    /// lost notifications
    RequeryClosed {
        /// A time such as 2026-11-20T08:00:00Z
        #[arg(long, value_name = "RFC3339", value_parser = instant)]
        since: OffsetDateTime,
    },
    /// Close an order that is not paid; a running worker closes it at WeChat
    Close {
        #[command(flatten)]
        order: OrderArguments,
        /// Why the order is closed
        #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
        reason: String,
    },
}

pub(crate) async fn run(verb: OrderVerb) -> anyhow::Result<ExitCode> {
    let store = store()?;
    match verb {
        OrderVerb::Show { order, json } => show(&store, &order.key(), json).await,
        OrderVerb::Explain { order, json } => explain::run(&store, &order.key(), json).await,
        OrderVerb::Requery { order } => requery(&store, &order.key()).await,
        OrderVerb::RequeryClosed { since } => requery_closed(&store, since).await,
        OrderVerb::Close { order, reason } => close(&store, &order.key(), &reason).await,
    }
}

async fn requery(store: &Store, key: &OrderKey) -> anyhow::Result<ExitCode> {
    let action = action("order requery", key, None);
    if store.request_checks(CheckScope::Order(key), &action).await? == 0 {
        return Ok(unknown(key));
    }
    print(&format!("WeChat is queried about {key} now; `order explain` shows the answer\n"))?;
    Ok(ExitCode::SUCCESS)
}

async fn requery_closed(store: &Store, since: OffsetDateTime) -> anyhow::Result<ExitCode> {
    let action = action("order requery-closed", format!("orders since {}", utc(since)), None);
    let count = store.request_checks(CheckScope::ClosedSince(since), &action).await?;
    print(&format!("WeChat is queried about {count} closed orders now\n"))?;
    Ok(ExitCode::SUCCESS)
}

async fn close(store: &Store, key: &OrderKey, reason: &str) -> anyhow::Result<ExitCode> {
    match store.request_close(key, &action("order close", key, Some(reason))).await? {
        None => Ok(unknown(key)),
        Some(view) if view.state == StateName::Paid => {
            eprintln!("{key} is paid and stays so");
            Ok(FAILED)
        }
        Some(view) => {
            print(&format!("{key} is {}\n", state_and_seq(&view)))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn unknown(key: &OrderKey) -> ExitCode {
    eprintln!("{key} is not known");
    FAILED
}

async fn show(store: &Store, key: &OrderKey, json: bool) -> anyhow::Result<ExitCode> {
    let history = store.history(key).await?;
    let Some(summary) = Summary::of(&history) else {
        let mut rejections = history.timeline.iter().filter_map(|entry| match &entry.event {
            TimelineEvent::Rejected { problem } => Some(problem),
            _ => None,
        });
        match rejections.next_back() {
            Some(problem) => {
                let problem = plain(&serde_json::to_string(problem)?);
                print(&format!("{key} was rejected: {problem}\n"))?;
            }
            None => print(&format!("{key} is not known\n"))?,
        }
        return Ok(FAILED);
    };
    if json {
        print_json(&without_payer(serde_json::to_value(&summary)?))?;
    } else {
        print(&format_summary(&summary))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn without_payer(mut summary: serde_json::Value) -> serde_json::Value {
    for name in ["openid", "sub_openid"] {
        if let Some(openid) = summary["order"].get_mut(name) {
            *openid = "…".into();
        }
    }
    summary
}

fn format_summary(summary: &Summary<'_>) -> String {
    let request = &summary.order.request;
    let facts = pairs(&summary_facts(summary));
    let mut text = format!("{}/{}\n{facts}", request.mch_id, request.out_trade_no);
    text.push_str("\ntransitions\n");
    for moved in &summary.transitions {
        let from = moved.from.unwrap_or("-");
        let fact = moved.fact.unwrap_or("-");
        let how = format!("{from} -> {} by {fact} ({})", moved.to, moved.source);
        let _ = writeln!(text, "{:>3}  {}  {how}", moved.seq, utc(moved.at));
    }
    let _ = writeln!(text, "\nnotifications {}", summary.notifications.len());
    for it in &summary.notifications {
        let detail = it.detail.map(|detail| format!(": {}", plain(detail))).unwrap_or_default();
        let what = format!("{} {}{detail}, repeated {} times", it.kind, it.verdict, it.repeats);
        let _ = writeln!(text, "     {}  {what}", utc(it.received_at));
    }
    text
}

fn summary_facts(summary: &Summary<'_>) -> Vec<(&'static str, String)> {
    let order = summary.order;
    let mut facts = vec![
        ("state", state_and_seq(order)),
        ("total_fee", format!("{} fen", order.request.total_fee)),
        ("trade_type", order.request.trade_type.as_str().to_owned()),
    ];
    if let Some(id) = &order.transaction_id {
        facts.push(("transaction_id", id.to_string()));
    }
    if let Some(failure) = &order.failure {
        facts.push(("failure", plain(&format!("{}: {}", failure.err_code, failure.err_code_des))));
    }
    if let Some(message) = &order.gateway_message {
        facts.push(("gateway said", plain(message)));
    }
    for exception in &order.exceptions {
        let since = utc(exception.opened_at);
        facts.push(("exception", format!("{} since {since}", exception.kind.as_str())));
    }
    facts.push(("unpublished", summary.unpublished.to_string()));
    facts
}
