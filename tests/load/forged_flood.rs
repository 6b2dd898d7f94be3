//! A flood of forged notifications beside honest orders: what becomes of either.
//!
//! The whole system runs in this process, on the servers that the environment names. First only
//! honest orders are created and paid, then the flood comes and they go on. The flood has a source
//! address of its own, 127.0.0.2, so that a limit per source can tell it from WeChat.
//!
//! A load, not a test: it asserts what always holds, and prints what it measures.
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

/// As good as none: what the door lets through is what the system behind it must bear.
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

    // At `debug` each request is a line, and writing them is what would be measured.
    logs::capture_down_to(tracing::Level::INFO);
    let world = World::start_with(Options {
        workers: Some(workers as usize),
        public_rate: NonZeroU32::new(limit),
        ..Options::default()
    });
    let world = Arc::new(world.await);
    println!(
        "{rate} forged notifications per second for {} s, {orders_per_second} honest orders per \
         second, {workers} worker(s), {limit} per second and source at the door, {shapes} shapes",
        within.as_secs()
    );

    let honest = Honest::start(&world).await;
    let alone = honest.pay(orders_per_second, within).await;
    let empty = kept(&world).await;

    let forger = Arc::new(Forger::new(&world, honest.paid(), shapes as usize).await);
    let flood = Flood { rate, within };
    let (told, beside) =
        tokio::join!(flood.pour(world.public, &forger), honest.pay(orders_per_second, within));
    let (backlog, since) = (world.queued_messages().await, Instant::now());
    world.wait_until_idle().await;
    println!("\nforged: {told}");
    println!("queued when the flood ended: {backlog}, done {:.1} s later", secs(since.elapsed()));

    println!("\nfrom the payment to the event order.paid, milliseconds");
    println!("  without the flood  {alone}");
    println!("  beside the flood   {beside}");
    println!("  ratio              {}", beside.ratio(&alone));

    println!("\nwhat the flood left in the database");
    let left = kept(&world).await;
    for ((what, before), (_, after)) in empty.iter().zip(&left) {
        println!("  {what:<28} {before:>9} -> {after:>9}");
    }
    assert_eq!(alone.lost() + beside.lost(), 0, "honest orders that are not paid");
    drop((honest, forger));
    Arc::into_inner(world).expect("nobody else holds it").finish().await;
    println!("\nevery invariant holds");
}

/// The sizes of the tables that a notification can reach.
async fn kept(world: &World) -> Vec<(&'static str, i64)> {
    let mut kept = Vec::new();
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
        kept.push((what, count));
    }
    kept
}

/// An argument like `RATE=2000`.
fn setting(name: &str, default: u32) -> u32 {
    let given = std::env::args().skip(1);
    let mut given =
        given.filter_map(|it| Some(it.strip_prefix(name)?.strip_prefix('=')?.to_owned()));
    let given = given.next();
    given.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

fn secs(duration: Duration) -> f64 {
    duration.as_secs_f64()
}
