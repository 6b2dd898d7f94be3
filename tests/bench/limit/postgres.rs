//! Writes the rows that a run has left once more, in another schema: the same tables with the same
//! indexes and checks, in large transactions.

use std::time::Duration;

use anyhow::{Context, Result};
use sqlx::{AssertSqlSafe, PgConnection, PgPool};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::tables::{Table, tables};

/// The orders of the smallest batch.
const CHUNK: usize = 256;
/// Chunks per batch that are tried.
const BATCHES: [usize; 2] = [1, 4];
/// Transactions at the same time.
const WRITERS: usize = 2;
const SCHEMA: &str = "bench_limit";
const ORDERS: &str = "orders";

/// What a run did with its orders.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    Created,
    Changed,
}

/// The rows of a run, ready to be written again.
pub(crate) struct Rows {
    pub(crate) orders: usize,
    pool: PgPool,
    tables: Vec<Table>,
    written: Written,
    chunks: usize,
    batch: usize,
}

impl Rows {
    /// Copies what transactions from number `since` on have left. Rows that were written and
    /// deleted in the run are not there any more.
    pub(crate) async fn of(pool: &PgPool, since: i64, written: Written) -> Result<Self> {
        let mut connection = pool.acquire().await?;
        let schema = format!("drop schema if exists {SCHEMA} cascade; create schema {SCHEMA}");
        sqlx::raw_sql(AssertSqlSafe(schema)).execute(&mut *connection).await?;
        let count = format!("select count(*) from {ORDERS} where xmin::text::bigint >= {since}");
        let count = sqlx::query_scalar::<_, i64>(AssertSqlSafe(count));
        let orders = usize::try_from(count.fetch_one(&mut *connection).await?)?;
        let chunks = orders.div_ceil(CHUNK).max(1);
        let mut kept = Vec::new();
        for table in tables(&mut connection).await? {
            let Table { name, columns, storage, .. } = &table;
            let columns = columns.join(", ");
            let storage = match storage.is_empty() {
                true => String::new(),
                false => format!("with ({})", storage.join(", ")),
            };
            let copy = format!(
                "create unlogged table {SCHEMA}.staged_{name} as
                     select {columns}, (row_number() over () - 1) * {chunks} / count(*) over () as chunk
                     from public.{name} where xmin::text::bigint >= {since};
                 create index on {SCHEMA}.staged_{name} (chunk);
                 create table {SCHEMA}.{name} (like public.{name} including all) {storage};
                 analyze {SCHEMA}.staged_{name}"
            );
            let copy = sqlx::raw_sql(AssertSqlSafe(copy)).execute(&mut *connection).await;
            copy.with_context(|| format!("cannot copy {name}"))?;
            let any = format!("select exists (select from {SCHEMA}.staged_{name})");
            let any = sqlx::query_scalar::<_, bool>(AssertSqlSafe(any));
            if any.fetch_one(&mut *connection).await? {
                kept.push(table);
            }
        }
        let pool = pool.clone();
        Ok(Self { orders, pool, tables: kept, written, chunks, batch: BATCHES[0] })
    }

    /// Keeps the faster of the batch sizes.
    pub(crate) async fn choose_batch(&mut self) -> Result<()> {
        let mut best = Duration::MAX;
        let mut choice = self.batch;
        for batch in BATCHES {
            self.batch = batch;
            self.clear().await?;
            let start = Instant::now();
            self.write().await?;
            let elapsed = start.elapsed();
            if elapsed < best {
                best = elapsed;
                choice = batch;
            }
        }
        self.batch = choice;
        Ok(())
    }

    /// Empties the tables. Orders that the run only changed are put back.
    pub(crate) async fn clear(&self) -> Result<()> {
        let names: Vec<_> = self.tables.iter().map(|it| format!("{SCHEMA}.{}", it.name)).collect();
        let truncate = format!("truncate {}", names.join(", "));
        sqlx::query(AssertSqlSafe(truncate)).execute(&self.pool).await?;
        if self.written == Written::Changed
            && let Some(orders) = self.table(ORDERS)
        {
            let insert = insert(orders, "true");
            sqlx::query(AssertSqlSafe(insert)).execute(&self.pool).await?;
        }
        Ok(())
    }

    pub(crate) async fn write(&self) -> Result<()> {
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let mut connection = self.pool.acquire().await?;
            let starts = (0..self.chunks).step_by(self.batch).skip(writer).step_by(WRITERS);
            let batches: Vec<_> =
                starts.map(|chunk| self.transactions(chunk, chunk + self.batch - 1)).collect();
            writers.spawn(async move {
                for transaction in batches.iter().flatten() {
                    write(&mut connection, transaction).await?;
                }
                Ok::<_, sqlx::Error>(())
            });
        }
        while let Some(written) = writers.join_next().await {
            written??;
        }
        Ok(())
    }

    pub(crate) async fn remove(self) -> Result<()> {
        let drop = format!("drop schema {SCHEMA} cascade");
        sqlx::query(AssertSqlSafe(drop)).execute(&self.pool).await?;
        Ok(())
    }

    fn table(&self, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.name == name)
    }

    /// An order is created in one transaction and changed in another one, because the call stands
    /// between them.
    fn transactions(&self, from: usize, to: usize) -> Vec<String> {
        let chunks = format!("chunk between {from} and {to}");
        let inserts = |is_wanted: fn(&Table) -> bool| {
            let tables = self.tables.iter().filter(|table| is_wanted(table));
            tables.map(|table| insert(table, &chunks)).collect::<Vec<_>>()
        };
        let change = self.table(ORDERS).map(|orders| update(orders, &chunks));
        match self.written {
            Written::Created => {
                let created = inserts(|_| true).join(";");
                [Some(created), change].into_iter().flatten().collect()
            }
            Written::Changed => {
                let mut statements = inserts(|table| table.name != ORDERS);
                statements.extend(change);
                vec![statements.join(";")]
            }
        }
    }
}

/// Several statements that are sent at once are one transaction.
async fn write(connection: &mut PgConnection, transaction: &str) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(transaction)).execute(connection).await.map(drop)
}

fn insert(table: &Table, condition: &str) -> String {
    let Table { name, columns, .. } = table;
    let columns = columns.join(", ");
    format!(
        "insert into {SCHEMA}.{name} ({columns})
         select {columns} from {SCHEMA}.staged_{name} where {condition}"
    )
}

fn update(table: &Table, condition: &str) -> String {
    let Table { name, columns, .. } = table;
    let set: Vec<_> = columns.iter().map(|column| format!("{column} = s.{column}")).collect();
    let set = set.join(", ");
    format!(
        "update {SCHEMA}.{name} t set {set} from {SCHEMA}.staged_{name} s
         where s.{condition} and t.mch_id = s.mch_id and t.out_trade_no = s.out_trade_no"
    )
}
