//! Load: a flood of forged notifications beside honest orders.
//!
//! The whole system runs in this process, on the servers of the environment. Honest orders are
//! created and paid first alone, then beside the flood. The flood has its own source address,
//! 127.0.0.2, so that a limit per source can separate it from WeChat.
//!
//! This is not a test: it asserts the invariants and prints measurements.
#![allow(clippy::unwrap_used, reason = "a failure is a panic, as in a test")]

mod flood;
mod forger;
mod honest;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use harness::{Options, World, logs};

use flood::Flood;
use forger::{Forger, SHAPES};
use honest::Honest;

/// Practically no limit, so that the whole flood reaches the worker.
const NO_LIMIT: u32 = 1_000_000;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(run());
}

async fn run() {
    let rate = setting("RATE", 2_000);
    let within = Duration::from_secs(setting("SECONDS", 30).into());
    let orders_per_second = setting("ORDERS", 10);
    let limit = setting("LIMIT", NO_LIMIT);
    let workers = setting("WORKERS", 1);
    let shapes = setting("SHAPES", SHAPES as u32);

    // At `debug` level the time to write a line per request would be measured, too.
    logs::capture_down_to(tracing::Level::INFO);
    let world = World::start_with(Options {
        workers: Some(workers as usize),
        public_rate: NonZeroU32::new(limit),
        ..Options::default()
    });
    let world = Arc::new(world.await);
    println!(
        "{rate} forged notifications per second for {} s, {orders_per_second} honest orders per \
         second, {workers} worker(s), {limit} per second and source, {shapes} shapes",
        within.as_secs()
    );

    let honest = Honest::start(&world).await;
    let alone = honest.pay(orders_per_second, within).await;
    let before = table_sizes(&world).await;

    let forger = Arc::new(Forger::new(&world, honest.paid(), shapes as usize).await);
    let flood = Flood { rate, within };
    let (answers, beside) =
        tokio::join!(flood.run(world.public, &forger), honest.pay(orders_per_second, within));
    let backlog = world.queued_messages().await;
    let since = Instant::now();
    world.wait_until_idle().await;
    println!("\nforged: {answers}");
    println!("queued when the flood ended: {backlog}, done {:.1} s later", secs(since.elapsed()));

    println!("\nfrom the payment to the event order.paid, milliseconds");
    println!("  without the flood  {alone}");
    println!("  beside the flood   {beside}");
    println!("  ratio              {}", beside.ratio(&alone));

    println!("\nwhat the flood left in the database");
    let after = table_sizes(&world).await;
    for ((what, before), (_, after)) in before.iter().zip(&after) {
        println!("  {what:<28} {before:>9} -> {after:>9}");
    }
    assert_eq!(alone.lost() + beside.lost(), 0, "honest orders that are not paid");
    drop(honest);
    drop(forger);
    Arc::into_inner(world).expect("the only reference").finish().await;
    println!("\nevery invariant holds");
}

/// The sizes of the tables that a notification can reach.
async fn table_sizes(world: &World) -> Vec<(&'static str, i64)> {
    let mut sizes = Vec::new();
    for (what, count) in [
        ("orders", "select count(*) from orders"),
        ("notifications", "select count(*) from notifications"),
        (
            "notifications, not verified",
            "select count(*) from notifications where verdict in ('bad_signature', 'unreadable')",
        ),
        ("exceptions", "select count(*) from exceptions"),
        ("notifications, bytes", "select pg_total_relation_size('notifications')"),
        ("database, bytes", "select pg_database_size(current_database())"),
    ] {
        let count = sqlx::query_scalar(count).fetch_one(&world.environment.pool).await.unwrap();
        sizes.push((what, count));
    }
    sizes
}

/// An argument like `RATE=2000`.
fn setting(name: &str, default: u32) -> u32 {
    let given = std::env::args().skip(1);
    let mut given =
        given.filter_map(|it| Some(it.strip_prefix(name)?.strip_prefix('=')?.to_owned()));
    let given = given.next();
    given.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

fn secs(duration: Duration) -> f64 {
    duration.as_secs_f64()
}
