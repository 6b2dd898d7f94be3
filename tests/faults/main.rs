//! Breaks the whole system on purpose: real processes on servers of their own, a seeded plan of
//! faults, then quiet, and the invariants of design 10.
//!
//! The same seed makes the same orders, payments and blows; how they meet depends on the machine.
#![allow(clippy::unwrap_used, reason = "what breaks the tool itself ends the run")]

mod chance;
mod fault;
mod inject;
mod payers;
mod process;
mod shops;
mod system;
mod verdict;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use crate::shops::Shops;
use crate::system::System;

/// Break it for a while, and see whether anything is lost or doubled.
#[derive(Parser)]
struct Arguments {
    /// Where chance begins; drawn unless given
    #[arg(long)]
    seed: Option<u64>,
    /// How many orders the shops make
    #[arg(long, default_value_t = 300)]
    orders: u32,
    /// For how long they make them, and everything is broken meanwhile
    #[arg(long, default_value_t = 2.0)]
    minutes: f64,
    /// Keep the logs and the servers' data, and say where
    #[arg(long)]
    keep: bool,
}

/// As a shell tells of a program that Ctrl-C has ended.
const INTERRUPTED: u8 = 130;

#[tokio::main]
async fn main() -> ExitCode {
    let campaign = campaign(Arguments::parse());
    tokio::select! {
        code = campaign => code,
        // Dropping it ends its processes and its servers.
        _ = tokio::signal::ctrl_c() => ExitCode::from(INTERRUPTED),
    }
}

async fn campaign(arguments: Arguments) -> ExitCode {
    let seed = arguments.seed.unwrap_or_else(|| u64::from(fastrand::u32(..)));
    let orders = arguments.orders;
    let lasting = Duration::from_secs_f64(arguments.minutes * 60.0);
    println!("seed {seed}: {orders} orders in {:.1} minutes", arguments.minutes);

    let system = System::start(arguments.keep).await;
    let shops = Shops::new(&system, seed, orders);
    let injected = {
        let (injected, ()) = tokio::join!(
            inject::until_the_end(&system, seed, lasting),
            shops.order_and_pay(lasting),
        );
        injected
    };
    println!("waiting for quiet");
    system.heal().await;
    let found = verdict::reach(&system, &shops).await;
    let faults = found.print(&injected, seed);
    system.end().await;
    let (lost, doubled) = (found.lost(), found.doubled());
    println!("{orders} orders, {faults} faults: {lost} lost, {doubled} doubled");
    if found.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
