//! Notifications that the ingress accepts while no worker runs: 64 connections that are kept alive.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use harness::TestMerchant;

use crate::bench::{Bench, WARM_UP};
use crate::latency::millis;
use crate::limit;
use crate::load::{Load, NextRequest};
use crate::notification::{body, out_trade_no, request, transaction_id};
use crate::peer::Parts;
use crate::report::Row;
use crate::system::{Options, System};

pub(crate) const CONNECTIONS: usize = 64;
/// Different bodies; they repeat when there are more requests.
const BODIES: usize = 10_000;

pub(crate) async fn measure(bench: &mut Bench) -> Result<()> {
    let within = bench.settings.within;
    let mut system = System::start(&bench.settings, Options::default()).await?;
    system.stop_worker().await?;
    let bodies = bodies(&system.merchants[0], "unknown-", 0..BODIES)?;
    let load = Load { to: system.public, connections: CONNECTIONS, expected: 200 };
    let meter = system.meter();
    let before = meter.snapshot().await?;
    let ours = load.saturate(WARM_UP, within, repeating(&bodies)).await?;
    let cost = meter.since(&before).await?;
    let half = load.at_rate(ours.per_second() / 2.0, within, repeating(&bodies)).await?;
    let confirms = limit::confirms(&system, bodies[0].len(), within / 2).await?;
    system.remove().await?;

    let name = "notifications accepted, ingress alone";
    let mut row = Row::new(name, "per s", ours.per_second());
    row.limit = Some(confirms);
    row.detail("answers", &ours);
    row.detail("at half of it", &half);
    // The warm-up costs as much as the rest.
    let all = ours.latencies.len() as f64 * (within + WARM_UP).as_secs_f64() / within.as_secs_f64();
    row.detail("CPU each", cost.cpu_each(all as usize));
    if let Some(peer) = &bench.peer {
        let peer = peer.start(Parts::Ingress).await?;
        let bodies = self::bodies(&peer.merchant, "unknown-", 0..BODIES)?;
        let load = Load { to: peer.address, ..load };
        let theirs = load.saturate(WARM_UP, within, repeating(&bodies)).await?;
        let half = load.at_rate(theirs.per_second() / 2.0, within, repeating(&bodies)).await?;
        row.peer = Some(theirs.per_second());
        row.detail("peer: answers", &theirs);
        row.detail("peer: at half of it", &half);
        peer.remove().await?;
    }
    bench.add(row);

    let p99 = millis(half.latencies.percentile(99.0));
    bench.add(Row::new("p99 at half of that rate", "ms", p99));
    Ok(())
}

/// Requests with the notifications of these orders of a row.
pub(crate) fn bodies(
    merchant: &TestMerchant,
    prefix: &str,
    numbers: Range<usize>,
) -> Result<Arc<Vec<Vec<u8>>>> {
    let mut requests = Vec::with_capacity(numbers.len());
    for n in numbers {
        let body = body(merchant, &out_trade_no(prefix, n), &transaction_id(n))?;
        requests.push(request(merchant, &body));
    }
    Ok(Arc::new(requests))
}

/// The requests over and over again.
fn repeating(requests: &Arc<Vec<Vec<u8>>>) -> NextRequest {
    let requests = Arc::clone(requests);
    let sent = AtomicUsize::new(0);
    Arc::new(move || {
        let n = sent.fetch_add(1, Ordering::Relaxed);
        Some(requests[n % requests.len()].clone())
    })
}

/// Makes each request exactly once.
pub(crate) fn once(requests: &Arc<Vec<Vec<u8>>>) -> NextRequest {
    let requests = Arc::clone(requests);
    let sent = AtomicUsize::new(0);
    Arc::new(move || requests.get(sent.fetch_add(1, Ordering::Relaxed)).cloned())
}
