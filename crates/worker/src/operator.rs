//! The operator's verbs.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Subcommand;
use orders::OrderKey;
use wechatpay_v2::{MchId, OutTradeNo};
use worker::store::{Store, Story};
use worker::{Nudge, settings};

#[derive(Subcommand)]
pub(crate) enum OrderVerb {
    /// Show an order as it stands, with its history
    Show {
        /// The merchant's number
        mch_id: String,
        /// The order's number
        out_trade_no: String,
        /// For programs
        #[arg(long)]
        json: bool,
    },
}

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
}

pub(crate) async fn order(verb: OrderVerb) -> anyhow::Result<ExitCode> {
    let OrderVerb::Show { mch_id, out_trade_no, json } = verb;
    let key =
        OrderKey { mch_id: MchId::parse(mch_id)?, out_trade_no: OutTradeNo::parse(out_trade_no)? };
    let store = Store::open(settings::database_url()?.expose(), Nudge::nowhere())?;
    let Some(story) = store.story(&key).await? else {
        match store.rejection(&key).await? {
            Some(problem) => println!("{key} was rejected: {}", serde_json::to_string(&problem)?),
            None => println!("{key} is not known"),
        }
        return Ok(ExitCode::FAILURE);
    };
    if json {
        println!("{}", serde_json::to_string_pretty(&story)?);
    } else {
        print(&story);
    }
    Ok(ExitCode::SUCCESS)
}

fn print(story: &Story) {
    let order = &story.order;
    let request = &order.request;
    println!("{} / {}", request.mch_id, request.out_trade_no);
    println!("  state           {} (seq {})", order.state, order.seq);
    println!("  total_fee       {} fen", request.total_fee);
    println!("  trade_type      {}", request.trade_type.as_str());
    if let Some(id) = &order.transaction_id {
        println!("  transaction_id  {id}");
    }
    if let Some(failure) = &order.failure {
        println!("  failure         {}: {}", failure.err_code, failure.err_code_des);
    }
    if let Some(message) = &order.gateway_message {
        println!("  gateway said    {message}");
    }
    println!("  transitions");
    for line in &story.transitions {
        let from = line.from.as_deref().unwrap_or("-");
        let fact = line.fact.as_deref().unwrap_or("-");
        println!(
            "    {:>3}  {}  {from} -> {}  by {fact} ({})",
            line.seq, line.at, line.to, line.source
        );
    }
    println!("  notifications   {}", story.notifications.len());
    for line in &story.notifications {
        let detail = line.detail.as_deref().map(|text| format!(": {text}")).unwrap_or_default();
        println!(
            "         {}  {} {}{detail}, repeated {} times",
            line.received_at, line.kind, line.verdict, line.repeats
        );
    }
    for exception in &order.exceptions {
        println!("  exception       {} since {}", exception.kind.as_str(), exception.opened_at);
    }
    println!("  unpublished     {} events", story.unpublished);
}

pub(crate) async fn events(verb: EventsVerb) -> anyhow::Result<ExitCode> {
    let EventsVerb::Listen { out_trade_no, until, timeout } = verb;
    let (amqp_url, namespace) = settings::broker_settings()?;
    let config = broker::BrokerConfig {
        amqp_url,
        namespace,
        connection_name: "wxpay-worker events listen".to_owned(),
    };
    let listening = broker::listen(&config, "#").await.context("the broker cannot be used")?;
    eprintln!("READY");
    let seen = tokio::time::timeout(
        Duration::from_secs(timeout),
        print_until(listening, &out_trade_no, &until),
    );
    match seen.await {
        Ok(done) => done,
        Err(_) => Ok(ExitCode::FAILURE),
    }
}

async fn print_until(
    mut listening: broker::Listening,
    out_trade_no: &str,
    until: &str,
) -> anyhow::Result<ExitCode> {
    while let Some(body) = listening.next().await {
        let event: serde_json::Value = serde_json::from_slice(&body)?;
        if event["out_trade_no"] != out_trade_no {
            continue;
        }
        println!("{event}");
        if event["type"] == until {
            return Ok(ExitCode::SUCCESS);
        }
    }
    anyhow::bail!("the broker ended the subscription")
}
