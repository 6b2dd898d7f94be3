//! One merchant's orders wait by the thousand: how long another merchant's order takes beside them,
//! and how long it takes alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::{sleep, timeout};

use crate::bench::{Bench, WARM_UP};
use crate::commands::publish;
use crate::latency::millis;
use crate::load::{Answers, Load, NextRequest};
use crate::orders::Orders;
use crate::report::Row;
use crate::rows::waiting::GATEWAY_DELAY;
use crate::shop_queue::Kind;
use crate::system::{Options, System};

/// Orders of the other merchant at the same time.
const CALLERS: usize = 16;
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// All commands come through one queue, first in, first out. So the other merchant's orders wait
/// until the 20,000 before them are accepted, and that time is measured apart.
pub(crate) async fn measure(bench: &mut Bench) -> Result<()> {
    let within = bench.settings.within;
    let count = bench.settings.waiting;
    let options = Options { gateway_delay: GATEWAY_DELAY, ..Options::default() };
    let system = System::start(&bench.settings, options).await?;
    let load = Load { to: system.private, connections: CALLERS, expected: 200 };
    let small = Orders::of_merchants(&system, 1..2);
    let idle = load.saturate(WARM_UP, within, small.waiting_requests()).await?;

    let large = Orders::of_merchants(&system, 0..1);
    publish(&system, (0..count).map(|_| large.next().json)).await?;
    let is_accepted = Arc::new(AtomicBool::new(false));
    let until_accepted = until(&is_accepted, small.waiting_requests());
    let (arriving, accepted) = tokio::join!(
        load.saturate(Duration::ZERO, bench.settings.timeout, until_accepted),
        async {
            let accepted = timeout(bench.settings.timeout, wait_until_accepted(&system, count));
            let accepted = accepted.await.context("not all orders were accepted in time");
            is_accepted.store(true, Ordering::Relaxed);
            accepted
        }
    );
    let arriving = arriving?;
    accepted??;
    let told_before = system.shop.count(Kind::Payable);
    let beside = load.saturate(Duration::ZERO, within, small.waiting_requests()).await?;
    let told = system.shop.count(Kind::Payable) - told_before;
    let left = system.count("created").await?;
    system.remove().await?;

    let times = |answers: &Answers| p99(answers) / p99(&idle);
    let name = format!("another's create beside {count} that wait, p99");
    let mut row = Row::new(name, "times", times(&beside));
    row.detail("idle", &idle);
    row.detail("beside them", &beside);
    row.detail(
        "of those that wait, payable meanwhile",
        told.saturating_sub(beside.latencies.len()),
    );
    row.detail("of those that wait, still waiting at the end", left);
    bench.add(row);
    let name = format!("another's create while {count} arrive, p99");
    let mut row = Row::new(name, "times", times(&arriving));
    row.detail("while they arrive", &arriving);
    bench.add(row);
    Ok(())
}

fn p99(answers: &Answers) -> f64 {
    millis(answers.latencies.percentile(99.0))
}

/// The same requests until this is true.
fn until(is_over: &Arc<AtomicBool>, next: NextRequest) -> NextRequest {
    let is_over = Arc::clone(is_over);
    Arc::new(move || if is_over.load(Ordering::Relaxed) { None } else { next() })
}

async fn wait_until_accepted(system: &System, count: usize) -> Result<()> {
    let count = i64::try_from(count)?;
    let accepted = "select count(*) from orders where mch_id = $1";
    loop {
        let accepted = sqlx::query_scalar(accepted).bind(&system.merchants[0].mch_id);
        let accepted: i64 = accepted.fetch_one(&system.environment.pool).await?;
        if accepted >= count {
            return Ok(());
        }
        sleep(POLL_INTERVAL).await;
    }
}
