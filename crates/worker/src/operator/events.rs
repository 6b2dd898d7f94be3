//! `events`: listen to events, send stored events again.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{ArgGroup, Args, Subcommand};
use orders::OrderKey;
use time::OffsetDateTime;

use super::args::{instant, order_key};
use super::output::{print, utc};
use super::{FAILED, action, broker_config, store};

#[derive(Subcommand)]
pub(crate) enum EventsVerb {
    /// Print the events of an order as they are published, one JSON line each
    Listen {
        /// The number of the order
        #[arg(long)]
        out_trade_no: String,
        /// End with success after an event of this type
        #[arg(long)]
        until: String,
        /// End with failure after this many seconds
        #[arg(long, default_value_t = 60)]
        timeout: u64,
    },
    /// Send stored events again, under the same ids; a running worker publishes them
    Replay(EventSelection),
}

#[derive(Args)]
#[command(group = ArgGroup::new("which").required(true).args(["order", "since"]))]
#[group(skip)]
pub(crate) struct EventSelection {
    /// The events of one order
    #[arg(long, value_name = "MCH_ID/OUT_TRADE_NO", value_parser = order_key)]
    order: Option<OrderKey>,
    /// All events from this time on, such as 2026-11-20T08:00:00Z
    #[arg(long, value_name = "RFC3339", value_parser = instant)]
    since: Option<OffsetDateTime>,
    /// Only events before this time; the default is now
    #[arg(long, value_name = "RFC3339", value_parser = instant, requires = "since")]
    until: Option<OffsetDateTime>,
}

pub(crate) async fn run(verb: EventsVerb) -> anyhow::Result<ExitCode> {
    match verb {
        EventsVerb::Listen { out_trade_no, until, timeout } => {
            listen(&out_trade_no, &until, Duration::from_secs(timeout)).await
        }
        EventsVerb::Replay(selection) => replay(selection).await,
    }
}

async fn replay(selection: EventSelection) -> anyhow::Result<ExitCode> {
    let store = store()?;
    let verb = "events replay";
    let resent = if let Some(key) = selection.order {
        store.resend_order(&key, &action(verb, &key, None)).await?
    } else {
        let now = OffsetDateTime::now_utc();
        let since = selection.since.unwrap_or(now);
        let until = selection.until.unwrap_or(now);
        let subject = format!("events since {} until {}", utc(since), utc(until));
        store.resend_between(since, until, &action(verb, subject, None)).await?
    };
    let mut text = format!("{} of {} stored events are sent again", resent.queued, resent.found);
    let waiting = resent.found - resent.queued;
    if waiting > 0 {
        text += &format!("; {waiting} were waiting for the broker already");
    }
    print(&format!("{text}\n"))?;
    Ok(if resent.found == 0 { FAILED } else { ExitCode::SUCCESS })
}

async fn listen(out_trade_no: &str, until: &str, timeout: Duration) -> anyhow::Result<ExitCode> {
    let config = broker_config("events listen")?;
    let subscription =
        broker::subscribe_events(&config, "#").await.context("cannot listen to the broker")?;
    eprintln!("READY");
    let listened = tokio::time::timeout(timeout, print_until(subscription, out_trade_no, until));
    listened.await.unwrap_or(Ok(FAILED))
}

async fn print_until(
    mut subscription: broker::EventSubscription,
    out_trade_no: &str,
    until: &str,
) -> anyhow::Result<ExitCode> {
    while let Some(body) = subscription.next().await {
        let event: serde_json::Value = serde_json::from_slice(&body)?;
        if event["out_trade_no"] != out_trade_no {
            continue;
        }
        print(&format!("{event}\n"))?;
        if event["type"] == until {
            return Ok(ExitCode::SUCCESS);
        }
    }
    anyhow::bail!("the broker ended the subscription")
}
