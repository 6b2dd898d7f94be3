//! Notifications of payable orders: accepted, and settled by a worker, with the event told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sqlx::{AssertSqlSafe, PgPool};
use tokio::time::Instant;

use crate::bench::{Bench, DRAIN_TIMEOUT};
use crate::cost::{Cost, Meter};
use crate::limit::{self, Run};
use crate::load::{Answers, Load};
use crate::peer::Parts;
use crate::report::Row;
use crate::rows::notifications::{CONNECTIONS, bodies, once};
use crate::shop_queue::{Kind, ShopQueue};
use crate::system::{Options, System};
use crate::template::{Scope, Template};

/// An order that is paid has one event more.
const EVENTS_EACH: usize = 1;

pub(crate) async fn measure(bench: &mut Bench) -> Result<()> {
    let count = bench.settings.notifications;
    let system = System::start(&bench.settings, Options::default()).await?;
    let template = Template::create(&system, false).await?;
    load_payable(&system, &template, "s", 0, count).await?;
    let since = system.meter().transactions().await?;
    let requests = bodies(&system.merchants[0], "s", 0..count)?;
    let payments = Payments { within: bench.settings.within, requests };
    let ours = payments.send(system.public, &system.shop, &system.meter()).await?;
    let run = Run {
        since,
        creates: false,
        request_bytes: payments.requests[0].len(),
        events_each: EVENTS_EACH,
    };
    let limit = limit::measure(&system, &run).await?;
    system.remove().await?;

    let mut accepted =
        Row::new("notifications accepted while settled", "per s", ours.answers.per_second());
    accepted.detail("answers", &ours.answers);
    let mut settled = Row::new("settled, the event told, in that run", "orders/s", ours.rate());
    settled.detail("settled", ours.shown());
    settled.detail("an order", ours.cost.each(ours.settled));
    settled.detail("limit", &limit);
    settled.limit = Some(limit.composed);
    if let Some(peer) = &bench.peer {
        let peer = peer.start(Parts::IngressAndWorker).await?;
        let insert = "insert into orders (out_trade_no, state, total_fee)
            select 's' || lpad(n::text, 8, '0'), 'prepaid', 9900 from generate_series(0, $1 - 1) n";
        let insert = sqlx::query(insert).bind(i64::try_from(count)?);
        insert.execute(&peer.environment.pool).await?;
        let requests = bodies(&peer.merchant, "s", 0..count)?;
        let payments = Payments { within: bench.settings.within, requests };
        let theirs = payments.send(peer.address, &peer.shop, &peer.meter()).await?;
        accepted.peer = Some(theirs.answers.per_second());
        accepted.detail("peer: answers", &theirs.answers);
        settled.peer = Some(theirs.rate());
        settled.detail("peer: settled", theirs.shown());
        settled.detail("peer: an order", theirs.cost.each(theirs.settled));
        peer.remove().await?;
    }
    bench.add(accepted);
    bench.add(settled);
    Ok(())
}

/// Loads payable orders that are not due for a check within the next hour.
pub(crate) async fn load_payable(
    system: &System,
    template: &Template,
    prefix: &str,
    first: usize,
    count: usize,
) -> Result<()> {
    let pool = &system.environment.pool;
    template.load(pool, Scope::All, prefix, first, count).await?;
    postpone_checks(pool).await?;
    sqlx::raw_sql("analyze; checkpoint").execute(pool).await?;
    Ok(())
}

/// The simulator does not know loaded orders, so they must not be checked.
pub(crate) async fn postpone_checks(pool: &PgPool) -> Result<()> {
    let column = "select table_name::text from information_schema.columns
        where table_schema = 'public' and column_name = 'next_check_at'";
    let table: String = sqlx::query_scalar(column).fetch_one(pool).await?;
    let later = format!(
        "update {table} set next_check_at = now() + interval '1 hour' * (1 + random())
         where next_check_at is not null"
    );
    sqlx::query(AssertSqlSafe(later)).execute(pool).await?;
    Ok(())
}

/// Notifications of orders that wait for them, each sent once.
pub(crate) struct Payments {
    pub(crate) within: Duration,
    pub(crate) requests: Arc<Vec<Vec<u8>>>,
}

pub(crate) struct Settled {
    pub(crate) answers: Answers,
    accepted: usize,
    settled: usize,
    /// From the first notification to the last event.
    elapsed: Duration,
    cost: Cost,
}

impl Payments {
    /// Sends as fast as they are accepted, and waits until all are settled.
    pub(crate) async fn send(
        &self,
        to: SocketAddr,
        shop: &ShopQueue,
        meter: &Meter,
    ) -> Result<Settled> {
        shop.take(Kind::Paid);
        let before = meter.snapshot().await?;
        let start = Instant::now();
        let load = Load { to, connections: CONNECTIONS, expected: 200 };
        let answers = load.saturate(Duration::ZERO, self.within, once(&self.requests)).await?;
        ensure!(answers.latencies.len() > 0, "no notification was accepted: {answers}");
        // The last ones are accepted when the time is over, and are settled like the others.
        let accepted = answers.latencies.len();
        let deadline = Instant::now() + DRAIN_TIMEOUT;
        let settled = shop.wait_for(Kind::Paid, accepted, deadline).await;
        let last = shop.last(Kind::Paid).context("no order was settled")?;
        let cost = meter.since(&before).await?;
        Ok(Settled { answers, accepted, settled, elapsed: last - start, cost })
    }
}

impl Settled {
    pub(crate) fn rate(&self) -> f64 {
        self.settled as f64 / self.elapsed.as_secs_f64()
    }

    pub(crate) fn shown(&self) -> String {
        let Self { accepted, settled, elapsed, .. } = self;
        format!("{settled} of {accepted} in {:.1} s", elapsed.as_secs_f64())
    }
}
