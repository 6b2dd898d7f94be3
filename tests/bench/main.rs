//! `make bench`: how many orders and notifications this machine carries, beside what Postgres and
//! RabbitMQ take on it, and beside another implementation. Only ratios of one run mean anything.
//!
//! The worker and the ingress run as processes of their own. The load, the simulator of WeChat Pay
//! and the shop that receives the events are in this process, on the same cores.
#![allow(clippy::unwrap_used, reason = "a poisoned mutex is a panic of this program")]

mod bench;
mod commands;
mod cost;
mod frames;
mod http;
mod latency;
mod limit;
mod load;
mod notification;
mod orders;
mod peer;
mod program;
mod report;
mod rows;
mod settings;
mod shop_queue;
mod system;
mod tables;
mod template;

use std::fs;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use harness::interrupt::interrupted;

use crate::bench::Bench;
use crate::rows::{burst, creates, fairness, growth, notifications, settle, soak, waiting};
use crate::settings::Settings;

#[tokio::main]
async fn main() -> ExitCode {
    let settings = match Settings::read(std::env::args().skip(1)) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("bench: {error:#}");
            return ExitCode::from(64);
        }
    };
    tokio::select! {
        done = run(settings) => match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("bench: {error:#}");
                ExitCode::FAILURE
            }
        },
        // Dropping the run ends its programs.
        code = interrupted() => ExitCode::from(code),
    }
}

async fn run(settings: Settings) -> Result<()> {
    let start = Instant::now();
    let mut bench = Bench::new(settings)?;
    print_header(&bench);
    let measured = measure(&mut bench).await;
    // What was measured before a row failed counts, too.
    report::print(&bench.rows);
    println!("bench: {:.0} s; at the end, {}", start.elapsed().as_secs_f64(), load_average());
    measured
}

/// The limit that `creates` finds serves the rows behind it.
async fn measure(bench: &mut Bench) -> Result<()> {
    if bench.settings.has("creates") {
        creates::measure(bench).await.context("creates")?;
    }
    if bench.settings.has("waiting") {
        waiting::measure(bench).await.context("waiting")?;
    }
    if bench.settings.has("burst") {
        burst::measure(bench).await.context("burst")?;
    }
    if bench.settings.has("notifications") {
        notifications::measure(bench).await.context("notifications")?;
    }
    if bench.settings.has("settle") {
        settle::measure(bench).await.context("settle")?;
    }
    if bench.settings.has("fairness") {
        fairness::measure(bench).await.context("fairness")?;
    }
    if bench.settings.has("growth") {
        growth::measure(bench).await.context("growth")?;
    }
    if bench.settings.has("soak") {
        soak::measure(bench).await.context("soak")?;
    }
    Ok(())
}

fn print_header(bench: &Bench) {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let peer = bench.peer.as_ref().map_or("", |_| "; the peer's programs run when ours do not");
    let settings = &bench.settings;
    println!(
        "bench: {cores} cores, shared by the worker, the ingress, Postgres, RabbitMQ and this \
         process (load, simulator, the shop's queue){peer}\n\
         bench: {} merchants with requests_per_second = {}, each rate measured for {:?}\n\
         bench: at the start, {}",
        settings.merchants,
        settings.rate,
        settings.within,
        load_average()
    );
}

/// What else keeps the cores busy.
fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let minute = text.split(' ').next().unwrap_or_default();
    format!("{minute} processes are running or waiting for a core (average of a minute)")
}
