//! `order`: one order, looked at and pushed.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Subcommand;
use clap::builder::NonEmptyStringValueParser;
use orders::{OrderKey, OrderView, StateName};
use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;
use worker::store::{CheckScope, OrderHistory, Store, TimelineEvent};

use super::events::instant;
use super::output::{pairs, plain, print, print_json, utc};
use super::{FAILED, OrderArguments, action, explain, store};

/// Notifications that `order show` lists; `order explain` lists more.
const NOTIFICATIONS_MAX: usize = 100;

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
    let action = action("order requery", key, None);
    if store.request_checks(CheckScope::Order(key), &action).await? == 0 {
        return Ok(unknown(key));
    }
    print(&format!("WeChat is asked about {key} now; `order explain` tells the answer\n"))?;
    Ok(ExitCode::SUCCESS)
}

async fn requery_closed(store: &Store, since: OffsetDateTime) -> anyhow::Result<ExitCode> {
    let action = action("order requery-closed", format!("orders since {}", utc(since)), None);
    let count = store.request_checks(CheckScope::ClosedSince(since), &action).await?;
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
    let history = store.history(key).await?;
    let Some(summary) = Summary::of(&history) else {
        let mut rejections = history.timeline.into_iter().filter_map(|entry| match entry.event {
            TimelineEvent::Rejected { problem } => Some(problem),
            _ => None,
        });
        match rejections.next_back() {
            Some(problem) => {
                let problem = plain(&serde_json::to_string(&problem)?);
                print(&format!("{key} was rejected: {problem}\n"))?;
            }
            None => print(&format!("{key} is not known\n"))?,
        }
        return Ok(FAILED);
    };
    if json {
        print_json(&without_payer(serde_json::to_value(&summary)?))?;
    } else {
        print(&formatted(&summary))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The order with its transitions and notifications.
#[derive(Serialize)]
struct Summary<'a> {
    order: &'a OrderView,
    /// In the order of their `seq`.
    transitions: Vec<TransitionLine<'a>>,
    /// Oldest first.
    notifications: Vec<NotificationLine<'a>>,
    /// Events that the broker has not confirmed.
    unpublished: usize,
}

#[derive(Serialize)]
struct TransitionLine<'a> {
    seq: i32,
    from: Option<&'a str>,
    to: &'a str,
    fact: Option<&'a str>,
    source: &'a str,
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
    event_id: Uuid,
}

#[derive(Serialize)]
struct NotificationLine<'a> {
    kind: &'a str,
    verdict: &'a str,
    detail: Option<&'a str>,
    repeats: i32,
    #[serde(with = "time::serde::rfc3339")]
    received_at: OffsetDateTime,
}

impl<'a> Summary<'a> {
    /// `None` when there is no order.
    fn of(history: &'a OrderHistory) -> Option<Self> {
        let mut summary = Self {
            order: history.order.as_ref()?,
            transitions: Vec::new(),
            notifications: Vec::new(),
            unpublished: 0,
        };
        for entry in &history.timeline {
            match &entry.event {
                TimelineEvent::Transition { seq, from, to, fact, source, event_id } => {
                    summary.transitions.push(TransitionLine {
                        seq: *seq,
                        from: from.as_deref(),
                        to,
                        fact: fact.as_deref(),
                        source,
                        at: entry.at,
                        event_id: *event_id,
                    });
                }
                TimelineEvent::Notification(it) => summary.notifications.push(NotificationLine {
                    kind: &it.kind,
                    verdict: &it.verdict,
                    detail: it.detail.as_deref(),
                    repeats: it.repeats,
                    received_at: it.received_at,
                }),
                TimelineEvent::Event { is_confirmed: false, .. } => summary.unpublished += 1,
                _ => {}
            }
        }
        summary.transitions.sort_by_key(|line| line.seq);
        summary.notifications.truncate(NOTIFICATIONS_MAX);
        Some(summary)
    }
}

/// Leaves out who pays.
fn without_payer(mut summary: serde_json::Value) -> serde_json::Value {
    for name in ["openid", "sub_openid"] {
        if let Some(openid) = summary["order"].get_mut(name) {
            *openid = "…".into();
        }
    }
    summary
}

fn formatted(summary: &Summary<'_>) -> String {
    let order = &summary.order;
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
    facts.push(("unpublished", summary.unpublished.to_string()));

    let mut text = format!("{}/{}\n{}", request.mch_id, request.out_trade_no, pairs(&facts));
    text.push_str("\ntransitions\n");
    for moved in &summary.transitions {
        let from = moved.from.unwrap_or("-");
        let fact = moved.fact.unwrap_or("-");
        let how = format!("{from} -> {} by {fact} ({})", moved.to, moved.source);
        let _ = writeln!(text, "{:>3}  {}  {how}", moved.seq, utc(moved.at));
    }
    let _ = writeln!(text, "\nnotifications {}", summary.notifications.len());
    for it in &summary.notifications {
        let detail = it.detail.map(|detail| format!(": {}", plain(detail)));
        let detail = detail.unwrap_or_default();
        let what = format!("{} {}{detail}, repeated {} times", it.kind, it.verdict, it.repeats);
        let _ = writeln!(text, "     {}  {what}", utc(it.received_at));
    }
    text
}
