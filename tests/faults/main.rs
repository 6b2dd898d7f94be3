//! A fault campaign against the whole system: real processes, servers of their own and seeded
//! faults. Then the system gets idle, and the campaign checks that nothing is lost or doubled.
//!
//! The same seed makes the same orders, payments and faults. Their interleaving depends on the
//! machine.
#![allow(clippy::unwrap_used, reason = "an error of the tool itself ends the run")]

mod chance;
mod fault;
mod inject;
mod payers;
mod process;
mod report;
mod shops;
mod system;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use harness::interrupt::interrupted;

use crate::shops::{OrderCount, Shops};
use crate::system::System;

/// Inject faults into the whole system and report what is lost or doubled
#[derive(Parser)]
struct Arguments {
    /// The seed of every random choice; random by default
    #[arg(long)]
    seed: Option<u64>,
    /// How many orders the shops create
    #[arg(long, default_value_t = 300)]
    orders: u32,
    /// How many of them come at once, after half of the others
    #[arg(long, default_value_t = 0)]
    burst: u32,
    /// How long the shops order while faults are injected
    #[arg(long, default_value_t = 2.0)]
    minutes: f64,
    /// Keep the logs and the servers' data
    #[arg(long)]
    keep: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let campaign = campaign(Arguments::parse());
    tokio::select! {
        // First: servers that are starting when a signal comes fail, which is no news.
        biased;
        // Dropping the campaign stops its processes and servers.
        code = interrupted() => ExitCode::from(code),
        code = campaign => code,
    }
}

async fn campaign(arguments: Arguments) -> ExitCode {
    let seed = arguments.seed.unwrap_or_else(|| u64::from(fastrand::u32(..)));
    let orders = arguments.orders;
    let duration = Duration::from_secs_f64(arguments.minutes * 60.0);
    let burst = arguments.burst.min(orders);
    let minutes = arguments.minutes;
    println!("seed {seed}: {orders} orders in {minutes:.1} minutes, {burst} of them at once");

    let system = System::start(arguments.keep).await;
    let shops = Shops::new(&system, seed, OrderCount { all: orders, burst });
    let injected = {
        let (injected, ()) = tokio::join!(
            inject::inject_faults(&system, seed, duration),
            shops.order_and_pay(duration),
        );
        injected
    };
    println!("waiting until the system is idle");
    system.restore().await;
    let report = report::check(&system, &shops).await;
    let faults = report.print(&injected, seed);
    system.stop().await;
    let lost = report.lost();
    let doubled = report.doubled();
    println!("{orders} orders, {faults} faults: {lost} lost, {doubled} doubled");
    if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
