//! Many orders at once, with a gateway that takes 200 ms, until all are payable and the shop has
//! their events.

use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;

use crate::bench::Bench;
use crate::commands::publish;
use crate::load::Load;
use crate::orders::Orders;
use crate::peer::Parts;
use crate::report::Row;
use crate::rows::waiting::GATEWAY_DELAY;
use crate::settings::{Settings, Via};
use crate::shop_queue::{Kind, ShopQueue};
use crate::system::{Options, System};

/// What the private listener takes at once, with some left for others.
const CONNECTIONS: usize = 400;
/// The peer answers when an order is payable, so each order in progress needs a connection.
const PEER_CONNECTIONS: usize = 1_000;

/// How far a burst got.
struct Progress {
    payable: usize,
    /// Until the last event, or the timeout.
    elapsed: Duration,
}

pub(crate) async fn measure(bench: &mut Bench) -> Result<()> {
    for count in bench.settings.orders.clone() {
        let options = Options { gateway_delay: GATEWAY_DELAY, ..Options::default() };
        let system = System::start(&bench.settings, options).await?;
        let meter = system.meter();
        let before = meter.snapshot().await?;
        let start = Instant::now();
        let deadline = start + bench.settings.timeout;
        send(&system, &bench.settings, count).await?;
        let accepted = start.elapsed();
        let ours = Progress::of(&system.shop, count, start, deadline).await;
        let cost = meter.since(&before).await?;
        let stored = system.count("payable").await?;
        system.remove().await?;

        let mut row = Row::new(format!("{count} at once, gateway 200 ms"), "orders/s", ours.rate());
        row.limit = bench.composed_create_limit();
        row.detail("sent", format!("by {} in {:.1} s", bench.settings.via, accepted.as_secs_f64()));
        row.detail("payable", ours.shown(count));
        row.detail("payable in the database", stored);
        row.detail("an order", cost.each(ours.payable));
        if bench.peer.is_some() {
            let theirs = measure_peer(bench, count).await?;
            row.peer = Some(theirs.rate());
            row.detail("peer: payable", theirs.shown(count));
        }
        bench.add(row);
    }
    Ok(())
}

/// Returns when all orders are accepted.
async fn send(system: &System, settings: &Settings, count: usize) -> Result<()> {
    let orders = Orders::of(system);
    match settings.via {
        Via::Amqp => publish(system, (0..count).map(|_| orders.next().json)).await,
        Via::Http => {
            let load = Load { to: system.private, connections: CONNECTIONS, expected: 202 };
            load.saturate(Duration::ZERO, settings.timeout, orders.requests(count)).await.map(drop)
        }
    }
}

async fn measure_peer(bench: &Bench, count: usize) -> Result<Progress> {
    let Some(peer) = &bench.peer else { anyhow::bail!("there is no peer") };
    let peer = peer.start(Parts::Create(GATEWAY_DELAY)).await?;
    let orders = Orders::of_peer(&peer);
    let connections = count.min(PEER_CONNECTIONS);
    let load = Load { to: peer.address, connections, expected: 200 };
    let start = Instant::now();
    let timeout = bench.settings.timeout;
    let (sent, progress) = tokio::join!(
        load.saturate(Duration::ZERO, timeout, orders.requests(count)),
        Progress::of(&peer.shop, count, start, start + timeout)
    );
    sent?;
    peer.remove().await?;
    Ok(progress)
}

impl Progress {
    async fn of(shop: &ShopQueue, count: usize, start: Instant, deadline: Instant) -> Self {
        let payable = shop.wait_for(Kind::Payable, count, deadline).await;
        let end = match shop.last(Kind::Payable) {
            Some(last) if payable >= count => last,
            _ => deadline,
        };
        Self { payable, elapsed: end.saturating_duration_since(start) }
    }

    fn rate(&self) -> f64 {
        self.payable as f64 / self.elapsed.as_secs_f64()
    }

    fn shown(&self, count: usize) -> String {
        let Self { payable, elapsed } = self;
        format!("{payable} of {count}, the events told, in {:.1} s", elapsed.as_secs_f64())
    }
}
