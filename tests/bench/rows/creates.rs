//! 60 callers that wait for each answer, with a gateway that takes no time: what an order costs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::Instant;

use crate::bench::{Bench, DRAIN_TIMEOUT, WARM_UP};
use crate::cost::{Cost, Meter};
use crate::limit::{self, Run};
use crate::load::{Answers, Load};
use crate::orders::Orders;
use crate::peer::Parts;
use crate::report::Row;
use crate::shop_queue::{Kind, ShopQueue};
use crate::system::{Options, System};

const CALLERS: usize = 60;
/// Frames are counted in a run of their own: the proxy slows it down.
const COUNTED_SECONDS: u64 = 2;
/// An order is created and becomes payable.
const EVENTS_EACH: usize = 2;

pub(crate) async fn measure(bench: &mut Bench) -> Result<()> {
    let system = System::start(&bench.settings, Options::default()).await?;
    let since = system.meter().transactions().await?;
    let transactions_before = system.meter().all_transactions().await?;
    let orders = Orders::of(&system);
    let ours = Callers { count: CALLERS, within: bench.settings.within };
    let ours = ours.create(&system, &orders).await?;
    let transactions = system.meter().all_transactions().await? - transactions_before;
    let run = Run {
        since,
        creates: true,
        request_bytes: system.order(0, "00000000-00000000").len(),
        events_each: EVENTS_EACH,
    };
    let limit = limit::measure(&system, &run).await?;
    system.remove().await?;

    let mut row = Row::new("60 at once, gateway 0 ms", "orders/s", ours.answers.per_second());
    row.detail("answers", &ours.answers);
    row.detail("an order", ours.cost.each(ours.orders));
    let transactions = transactions as f64 / ours.orders.max(1) as f64;
    row.detail("transactions an order", format!("{transactions:.2} with those that only read"));
    row.detail("AMQP frames an order", format!("{:.1}", frames(bench).await?));
    row.detail("limit", &limit);
    row.limit = Some(limit.composed);
    bench.create_limit = Some(limit);
    if let Some(peer) = &bench.peer {
        let peer = peer.start(Parts::Create(Duration::ZERO)).await?;
        let orders = Orders::of_peer(&peer);
        let callers = Callers { count: CALLERS, within: bench.settings.within };
        let theirs = callers.load(peer.address, &peer.shop, &peer.meter(), &orders).await?;
        row.peer = Some(theirs.answers.per_second());
        row.detail("peer: answers", &theirs.answers);
        row.detail("peer: an order", theirs.cost.each(theirs.orders));
        peer.remove().await?;
    }
    bench.add(row);
    Ok(())
}

/// AMQP frames of the worker and the ingress for each order.
async fn frames(bench: &Bench) -> Result<f64> {
    let options = Options { count_frames: true, ..Options::default() };
    let system = System::start(&bench.settings, options).await?;
    let orders = Orders::of(&system);
    let count = || system.frames.as_ref().map_or(0, |frames| frames.count());
    let before = count();
    let callers = Callers { count: CALLERS, within: Duration::from_secs(COUNTED_SECONDS) };
    let created = callers.create(&system, &orders).await?;
    let frames = count() - before;
    system.remove().await?;
    Ok(frames as f64 / created.orders.max(1) as f64)
}

/// Callers that create orders, each one after the other.
#[derive(Clone, Copy)]
pub(crate) struct Callers {
    pub(crate) count: usize,
    pub(crate) within: Duration,
}

pub(crate) struct Created {
    pub(crate) answers: Answers,
    /// With those of the warm-up.
    pub(crate) orders: usize,
    pub(crate) cost: Cost,
}

impl Callers {
    pub(crate) async fn create(self, system: &System, orders: &Arc<Orders>) -> Result<Created> {
        self.load(system.private, &system.shop, &system.meter(), orders).await
    }

    /// Measures the answers, and the cost of all that was made until its last event has arrived.
    pub(crate) async fn load(
        self,
        to: SocketAddr,
        shop: &ShopQueue,
        meter: &Meter,
        orders: &Arc<Orders>,
    ) -> Result<Created> {
        let told_before = shop.count(Kind::Payable);
        let made_before = orders.made();
        let before = meter.snapshot().await?;
        let load = Load { to, connections: self.count, expected: 200 };
        let answers = load.saturate(WARM_UP, self.within, orders.waiting_requests()).await?;
        ensure!(answers.latencies.len() > 0, "no order was answered with 200: {answers}");
        let made = orders.made() - made_before;
        let deadline = Instant::now() + DRAIN_TIMEOUT;
        let told = shop.wait_for(Kind::Payable, told_before + made, deadline).await;
        let cost = meter.since(&before).await?;
        Ok(Created { answers, orders: told - told_before, cost })
    }
}
