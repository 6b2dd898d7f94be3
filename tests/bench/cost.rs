//! What a run costs: CPU time of each process, transactions that wrote, bytes of WAL.

use std::time::Duration;

use anyhow::{Context, Result};
use services::process::ProcessId;
use services::{Server, Services};
use sqlx::PgPool;
use tokio::time::sleep;

use crate::latency::millis;
use crate::program::Program;

/// The processes whose CPU time counts, by name. This process is named "bench".
pub(crate) struct Meter {
    processes: Vec<(&'static str, ProcessId)>,
    pool: PgPool,
}

pub(crate) struct Snapshot {
    cpu: Vec<(&'static str, Duration)>,
    transactions: i64,
    wal_bytes: i64,
}

/// What was used between two snapshots.
pub(crate) struct Cost {
    cpu: Vec<(&'static str, Duration)>,
    pub(crate) transactions: i64,
    pub(crate) wal_bytes: i64,
}

/// Longer than an idle connection waits before it reports what it has done.
const STATISTICS_DELAY: Duration = Duration::from_secs(11);
const BENCH: &str = "bench";

impl Meter {
    /// The servers' processes are known if they were started for this run, from packages.
    pub(crate) fn of<'a>(programs: impl Iterator<Item = &'a Program>, pool: &PgPool) -> Self {
        let mut processes: Vec<_> =
            programs.filter_map(|program| Some((program.name, program.process()?))).collect();
        // `services with` gives its command a folder for temporary files inside its own folder.
        let temporary = std::env::temp_dir();
        if let Some(folder) = temporary.parent() {
            let services = Services::in_folder(folder);
            let servers = [("postgres", Server::Postgres), ("rabbitmq", Server::RabbitMq)];
            let found = servers.map(|(name, server)| Some((name, services.process(server)?)));
            processes.extend(found.into_iter().flatten());
        }
        let own = i32::try_from(std::process::id()).ok().and_then(ProcessId::of);
        processes.extend(own.map(|own| (BENCH, own)));
        Self { processes, pool: pool.clone() }
    }

    pub(crate) async fn snapshot(&self) -> Result<Snapshot> {
        // A transaction gets a number when it first writes.
        let counters = "select pg_snapshot_xmax(pg_current_snapshot())::text::bigint,
            (pg_current_wal_insert_lsn() - '0/0')::bigint";
        let counters = sqlx::query_as(counters).fetch_one(&self.pool).await;
        let (transactions, wal_bytes) = counters.context("cannot read the counters")?;
        let cpu = self.processes.iter().map(|(name, process)| {
            // This process starts programs that are measured on their own.
            let tree = if *name == BENCH { vec![*process] } else { process.tree() };
            (*name, tree.into_iter().map(ProcessId::cpu_time).sum())
        });
        Ok(Snapshot { cpu: cpu.collect(), transactions, wal_bytes })
    }

    /// The number of the next transaction that writes.
    pub(crate) async fn transactions(&self) -> Result<i64> {
        Ok(self.snapshot().await?.transactions)
    }

    /// All transactions of this database, those that only read included. The processes of Postgres
    /// report their counts with a delay, so this takes some seconds.
    pub(crate) async fn all_transactions(&self) -> Result<i64> {
        sleep(STATISTICS_DELAY).await;
        let all = "select xact_commit from pg_stat_database where datname = current_database()";
        Ok(sqlx::query_scalar(all).fetch_one(&self.pool).await?)
    }

    pub(crate) async fn since(&self, before: &Snapshot) -> Result<Cost> {
        let now = self.snapshot().await?;
        let cpu = now.cpu.iter().zip(&before.cpu);
        Ok(Cost {
            cpu: cpu
                .map(|((name, now), (_, before))| (*name, now.saturating_sub(*before)))
                .collect(),
            transactions: now.transactions - before.transactions,
            wal_bytes: now.wal_bytes - before.wal_bytes,
        })
    }
}

impl Cost {
    /// All that the system used, this process aside.
    pub(crate) fn cpu_ms(&self) -> f64 {
        self.cpu.iter().filter(|(name, _)| *name != BENCH).map(|(_, time)| millis(*time)).sum()
    }

    /// Milliseconds of CPU for each of `count` things, process by process.
    pub(crate) fn cpu_each(&self, count: usize) -> String {
        let each = |ms: f64| ms / count.max(1) as f64;
        let parts =
            self.cpu.iter().map(|(name, time)| format!("{name} {:.3}", each(millis(*time))));
        let parts: Vec<_> = parts.collect();
        format!("{:.3} ms ({})", each(self.cpu_ms()), parts.join(", "))
    }

    /// CPU, commits and WAL for each of `count` things.
    pub(crate) fn each(&self, count: usize) -> String {
        let each = |total: i64| total as f64 / count.max(1) as f64;
        format!(
            "{}, {:.2} commits, {:.0} bytes of WAL",
            self.cpu_each(count),
            each(self.transactions),
            each(self.wal_bytes)
        )
    }
}
