//! One merchant's orders wait by the thousand: how long another merchant's order takes beside them,
//! and how long it takes alone.

use std::time::Duration;

use anyhow::Result;

use crate::bench::{Bench, WARM_UP};
use crate::commands::publish;
use crate::latency::{Latencies, millis};
use crate::load::Load;
use crate::orders::Orders;
use crate::report::Row;
use crate::rows::waiting::GATEWAY_DELAY;
use crate::shop_queue::Kind;
use crate::system::{Options, System};

/// Orders of the other merchant at the same time.
const CALLERS: usize = 16;

pub(crate) async fn measure(bench: &mut Bench) -> Result<()> {
    let within = bench.settings.within;
    let count = bench.settings.waiting;
    let options = Options { gateway_delay: GATEWAY_DELAY, ..Options::default() };
    let system = System::start(&bench.settings, options).await?;
    let load = Load { to: system.private, connections: CALLERS, expected: 200 };
    let small = Orders::of_merchants(&system, 1..2);
    let idle = load.saturate(WARM_UP, within, small.waiting_requests()).await?;

    let large = Orders::of_merchants(&system, 0..1);
    let told_before = system.shop.count(Kind::Payable);
    publish(&system, (0..count).map(|_| large.next().json)).await?;
    let beside = load.saturate(Duration::ZERO, within, small.waiting_requests()).await?;
    let told = system.shop.count(Kind::Payable) - told_before;
    system.remove().await?;

    let p99 = |latencies: &Latencies| millis(latencies.percentile(99.0));
    let ratio = p99(&beside.latencies) / p99(&idle.latencies);
    let mut row =
        Row::new(format!("another's create beside {count} that wait, p99"), "times", ratio);
    row.detail("idle", &idle);
    row.detail("beside them", &beside);
    let done = told.saturating_sub(beside.latencies.len());
    row.detail("of those that wait, payable at the end", done);
    bench.add(row);
    Ok(())
}
