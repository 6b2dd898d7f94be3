//! Whether full tables slow the system down: millions of settled orders and many open ones.

use anyhow::Result;
use tokio::time::Instant;

use crate::bench::Bench;
use crate::orders::Orders;
use crate::report::Row;
use crate::rows::creates::Callers;
use crate::rows::notifications::bodies;
use crate::rows::settle::{Payments, load_payable, postpone_checks};
use crate::system::{Options, System};
use crate::template::{Scope, Template};

const SMALL: usize = 10_000;
const OPEN: usize = 100_000;
const CALLERS: usize = 60;
/// Loaded in one `copy` per table.
const PART: usize = 250_000;

/// Two rates of one system.
struct Rates {
    creates: f64,
    settled: f64,
}

pub(crate) async fn measure(bench: &mut Bench) -> Result<()> {
    let grown = bench.settings.grown;
    let system = System::start(&bench.settings, Options::default()).await?;
    let pool = &system.environment.pool;
    let paid = Template::create(&system, true).await?;
    let payable = Template::create(&system, false).await?;
    paid.load(pool, Scope::Ledger, "grown-", 0, SMALL).await?;
    let small = rates(bench, &system, &payable, 0).await?;

    let start = Instant::now();
    let mut loaded = SMALL;
    while loaded < grown {
        let part = PART.min(grown - loaded);
        paid.load(pool, Scope::Ledger, "grown-", loaded, part).await?;
        loaded += part;
        println!("bench: {loaded} settled orders, {:.0} s", start.elapsed().as_secs_f64());
    }
    payable.load(pool, Scope::All, "open-", grown, OPEN).await?;
    postpone_checks(pool).await?;
    sqlx::raw_sql("vacuum (analyze)").execute(pool).await?;
    let large = rates(bench, &system, &payable, 1).await?;
    let size = "select pg_size_pretty(pg_database_size(current_database()))";
    let size: String = sqlx::query_scalar(size).fetch_one(pool).await?;
    system.remove().await?;

    let name = |what: &str| format!("{what} with {grown} settled and {OPEN} open orders");
    let parts =
        [("creates", large.creates, small.creates), ("settled", large.settled, small.settled)];
    for (what, large, small) in parts {
        let mut row = Row::new(name(what), "of the rate at 10,000", large / small);
        row.detail("per second", format!("{large:.0}, with {SMALL} settled orders {small:.0}"));
        row.detail("database", &size);
        bench.add(row);
    }
    Ok(())
}

/// `round` tells the orders of one measurement from those of another one.
async fn rates(bench: &Bench, system: &System, payable: &Template, round: usize) -> Result<Rates> {
    let within = bench.settings.within;
    let callers = Callers { count: CALLERS, within };
    let created = callers.create(system, &Orders::of(system)).await?;
    let count = bench.settings.notifications;
    // Beyond the numbers of those that are loaded above.
    let first = bench.settings.grown + OPEN + round * count;
    let prefix = format!("settled-{round}-");
    load_payable(system, payable, &prefix, first, count).await?;
    let requests = bodies(&system.merchants[0], &prefix, first..first + count)?;
    let payments = Payments { within, requests };
    let settled = payments.send(system.public, &system.shop, &system.meter()).await?;
    Ok(Rates { creates: created.answers.per_second(), settled: settled.rate() })
}
