//! `order`: one order, looked at and pushed.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Subcommand;
use clap::builder::NonEmptyStringValueParser;
use orders::{OrderKey, StateName};
use time::OffsetDateTime;
use worker::store::{Store, Story};

use super::events::instant;
use super::output::{pairs, plain, print, print_json, utc};
use super::{FAILED, OrderArguments, action, explain, store};

#[derive(Subcommand)]
pub(crate) enum OrderVerb {
    /// Show an order as it stands, with its history
    Show {
        #[command(flatten)]
        order: OrderArguments,
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// Tell an order's whole story in the order of time
    Explain {
        #[command(flatten)]
        order: OrderArguments,
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// Have WeChat asked about an order now; a running worker does it
    Requery {
        #[command(flatten)]
        order: OrderArguments,
    },
    /// Have WeChat asked about every order that was closed from a time on, as when the broker has
    /// lost notifications
    RequeryClosed {
        /// Such as 2026-11-20T08:00:00Z
        #[arg(long, value_name = "RFC3339", value_parser = instant)]
        since: OffsetDateTime,
    },
    /// Close an order that is not paid; a running worker tells WeChat
    Close {
        #[command(flatten)]
        order: OrderArguments,
        /// Why
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
    if !store.requery(key, &action("order requery", key, None)).await? {
        return Ok(unknown(key));
    }
    print(&format!("WeChat is asked about {key} now; `order explain` tells the answer\n"))?;
    Ok(ExitCode::SUCCESS)
}

async fn requery_closed(store: &Store, since: OffsetDateTime) -> anyhow::Result<ExitCode> {
    let action = action("order requery-closed", format!("orders since {}", utc(since)), None);
    let count = store.requery_closed(since, &action).await?;
    print(&format!("WeChat is asked about {count} closed orders now\n"))?;
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
            print(&format!("{key} is {} (seq {})\n", view.state, view.seq))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn unknown(key: &OrderKey) -> ExitCode {
    eprintln!("{key} is not known");
    FAILED
}

async fn show(store: &Store, key: &OrderKey, json: bool) -> anyhow::Result<ExitCode> {
    let Some(story) = store.story(key).await? else {
        match store.rejection(key).await? {
            Some(problem) => {
                let problem = plain(&serde_json::to_string(&problem)?);
                print(&format!("{key} was rejected: {problem}\n"))?;
            }
            None => print(&format!("{key} is not known\n"))?,
        }
        return Ok(FAILED);
    };
    if json {
        print_json(&without_payer(serde_json::to_value(&story)?))?;
    } else {
        print(&shown(&story))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Who pays is nobody's business here.
fn without_payer(mut story: serde_json::Value) -> serde_json::Value {
    for name in ["openid", "sub_openid"] {
        if let Some(openid) = story["order"].get_mut(name) {
            *openid = "…".into();
        }
    }
    story
}

fn shown(story: &Story) -> String {
    let order = &story.order;
    let request = &order.request;
    let mut facts = vec![
        ("state", format!("{} (seq {})", order.state, order.seq)),
        ("total_fee", format!("{} fen", request.total_fee)),
        ("trade_type", request.trade_type.as_str().to_owned()),
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
    facts.push(("unpublished", story.unpublished.to_string()));

    let mut text = format!("{}/{}\n{}", request.mch_id, request.out_trade_no, pairs(&facts));
    text.push_str("\ntransitions\n");
    for moved in &story.transitions {
        let from = moved.from.as_deref().unwrap_or("-");
        let fact = moved.fact.as_deref().unwrap_or("-");
        let how = format!("{from} -> {} by {fact} ({})", moved.to, moved.source);
        let _ = writeln!(text, "{:>3}  {}  {how}", moved.seq, utc(moved.at));
    }
    let _ = writeln!(text, "\nnotifications {}", story.notifications.len());
    for it in &story.notifications {
        let detail = it.detail.as_deref().map(|detail| format!(": {}", plain(detail)));
        let detail = detail.unwrap_or_default();
        let what = format!("{} {}{detail}, repeated {} times", it.kind, it.verdict, it.repeats);
        let _ = writeln!(text, "     {}  {what}", utc(it.received_at));
    }
    text
}
