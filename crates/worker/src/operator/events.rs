//! `events`: heard as a shop hears them, and sent again.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{ArgGroup, Args, Subcommand};
use orders::OrderKey;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::output::{print, utc};
use super::{FAILED, action, broker_config, mch_id, out_trade_no, store};

#[derive(Subcommand)]
pub(crate) enum EventsVerb {
    /// Print the events of an order as they are published, one JSON line each
    Listen {
        /// The order's number
        #[arg(long)]
        out_trade_no: String,
        /// End with success after an event of this type
        #[arg(long)]
        until: String,
        /// End with failure after so many seconds
        #[arg(long, default_value_t = 60)]
        timeout: u64,
    },
    /// Send stored events again, under the same ids; a running worker publishes them
    Replay(Which),
}

/// Which events.
#[derive(Args)]
#[command(group = ArgGroup::new("which").required(true).args(["order", "since"]))]
#[group(skip)]
pub(crate) struct Which {
    /// Those of one order
    #[arg(long, value_name = "MCH_ID/OUT_TRADE_NO", value_parser = order_key)]
    order: Option<OrderKey>,
    /// Those of everybody from this time on, as 2026-11-20T08:00:00Z
    #[arg(long, value_name = "RFC3339", value_parser = instant)]
    since: Option<OffsetDateTime>,
    /// Those before this time; now, unless given
    #[arg(long, value_name = "RFC3339", value_parser = instant, requires = "since")]
    until: Option<OffsetDateTime>,
}

pub(crate) async fn run(verb: EventsVerb) -> anyhow::Result<ExitCode> {
    match verb {
        EventsVerb::Listen { out_trade_no, until, timeout } => {
            listen(&out_trade_no, &until, Duration::from_secs(timeout)).await
        }
        EventsVerb::Replay(which) => replay(which).await,
    }
}

async fn replay(which: Which) -> anyhow::Result<ExitCode> {
    let store = store()?;
    let verb = "events replay";
    let resent = match which {
        Which { order: Some(key), .. } => store.resend_order(&key, &action(verb, &key, None)).await,
        Which { since, until, .. } => {
            let now = OffsetDateTime::now_utc();
            let (since, until) = (since.unwrap_or(now), until.unwrap_or(now));
            let subject = format!("events since {} until {}", utc(since), utc(until));
            store.resend_between(since, until, &action(verb, subject, None)).await
        }
    }?;
    let waiting = resent.found - resent.queued;
    let mut text = format!("{} of {} stored events are sent again", resent.queued, resent.found);
    if waiting > 0 {
        text += &format!("; {waiting} were waiting for the broker already");
    }
    print(&format!("{text}\n"))?;
    Ok(if resent.found == 0 { FAILED } else { ExitCode::SUCCESS })
}

async fn listen(out_trade_no: &str, until: &str, within: Duration) -> anyhow::Result<ExitCode> {
    let config = broker_config("events listen")?;
    let listening =
        broker::subscribe_events(&config, "#").await.context("the broker cannot be used")?;
    eprintln!("READY");
    let seen = tokio::time::timeout(within, print_until(listening, out_trade_no, until));
    seen.await.unwrap_or(Ok(FAILED))
}

async fn print_until(
    mut listening: broker::EventSubscription,
    out_trade_no: &str,
    until: &str,
) -> anyhow::Result<ExitCode> {
    while let Some(body) = listening.next().await {
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

pub(super) fn order_key(text: &str) -> Result<OrderKey, String> {
    let (mch, number) = text.split_once('/').ok_or("must be MCH_ID/OUT_TRADE_NO")?;
    let mch_id = mch_id(mch).map_err(|error| error.to_string())?;
    let out_trade_no = out_trade_no(number).map_err(|error| error.to_string())?;
    Ok(OrderKey { mch_id, out_trade_no })
}

pub(super) fn instant(text: &str) -> Result<OffsetDateTime, &'static str> {
    OffsetDateTime::parse(text, &Rfc3339)
        .map_err(|_| "must be a time as 2026-11-20T08:00:00Z or 2026-11-20T16:00:00+08:00")
}
