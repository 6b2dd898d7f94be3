//! Loads orders by `copy`. The rows are those that the system itself wrote for one order, in every
//! table, with other numbers and ids: no schema is repeated here.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, PgPool};
use uuid::Uuid;

use crate::http::{HttpConnection, post};
use crate::notification;
use crate::shop_queue::Kind;
use crate::system::System;
use crate::tables::{Table, tables};

const NUMBER: &str = "template-order";
const TRANSACTION: &str = "4299999999999999999999999999";
const WAIT_MAX: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
const COPY_BYTES: usize = 1024 * 1024;
const DIGEST_BYTES: i32 = 32;

/// The rows of one order.
pub(crate) struct Template {
    tables: Vec<(Table, Vec<Piece>)>,
    /// Each id that the rows hold gets a successor per order.
    ids: Vec<Uuid>,
    seed: u64,
}

/// A part of the rows as `copy` writes them.
enum Piece {
    Text(Vec<u8>),
    Slot(Slot),
}

/// Where orders differ from each other.
#[derive(Clone, Copy)]
enum Slot {
    Number,
    NumberInHex,
    Transaction,
    TransactionInHex,
    Id(usize),
    Digest(usize),
}

/// Which tables are filled.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    All,
    /// What remains of an order when its evidence has been removed.
    Ledger,
}

const LEDGER: [&str; 2] = ["orders", "order_transitions"];

impl Template {
    /// Creates an order of the first merchant, pays it if its copies are to be paid, and reads its
    /// rows. The order is deleted afterwards by no one: it counts as one more.
    pub(crate) async fn create(system: &System, is_paid: bool) -> Result<Self> {
        let number = if is_paid { format!("{NUMBER}-paid") } else { NUMBER.to_owned() };
        let headers = "content-type: application/json\r\nprefer: wait=20\r\n";
        let request = post("/v1/orders", headers, &system.order(0, &number));
        let status = HttpConnection::to(system.private).send(&request).await?;
        ensure!(status == 200, "the template order was answered {status}");
        let merchant = &system.merchants[0];
        let mut kind = Kind::Payable;
        if is_paid {
            let body = notification::body(merchant, &number, TRANSACTION)?;
            let request = notification::request(merchant, &body);
            let status = HttpConnection::to(system.public).send(&request).await?;
            ensure!(status == 200, "the template payment was answered {status}");
            kind = Kind::Paid;
        }
        let pool = &system.environment.pool;
        let deadline = tokio::time::Instant::now() + WAIT_MAX;
        while system.shop.arrival(kind, &number).is_none() || pending(pool).await? > 0 {
            ensure!(tokio::time::Instant::now() < deadline, "the template order has no event");
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Self::read(pool, &number).await
    }

    async fn read(pool: &PgPool, number: &str) -> Result<Self> {
        let mut connection = pool.acquire().await?;
        let all = tables(&mut connection).await?;
        let of_order = format!("out_trade_no = '{number}'");
        let mut ids: Vec<Uuid> = Vec::new();
        for table in all.iter().filter(|table| table.has("out_trade_no")) {
            for column in &table.uuids {
                let name = &table.name;
                let select = format!(
                    "select {column} from {name} where {of_order} and {column} is not null"
                );
                ids.extend(
                    sqlx::query_scalar::<_, Uuid>(AssertSqlSafe(select))
                        .fetch_all(&mut *connection)
                        .await?,
                );
            }
        }
        ids.sort();
        ids.dedup();
        let mut slots = vec![
            (number.as_bytes().to_vec(), Slot::Number),
            (hex(number.as_bytes()), Slot::NumberInHex),
            (TRANSACTION.as_bytes().to_vec(), Slot::Transaction),
            (hex(TRANSACTION.as_bytes()), Slot::TransactionInHex),
        ];
        let id_slots = ids.iter().enumerate();
        slots.extend(id_slots.map(|(at, id)| (id.to_string().into_bytes(), Slot::Id(at))));
        let listed: Vec<_> = ids.iter().map(|id| format!("'{id}'")).collect();
        let mut filled = Vec::new();
        for table in all {
            let condition = match table.uuids.first() {
                _ if table.has("out_trade_no") => of_order.clone(),
                Some(column) => format!("{column} in ({})", listed.join(", ")),
                None => continue,
            };
            let digests = digests(&mut connection, &table, &condition).await?;
            let first = slots.iter().filter(|(_, slot)| matches!(slot, Slot::Digest(_))).count();
            let digests = digests.into_iter().enumerate();
            slots.extend(digests.map(|(at, digest)| (hex(&digest), Slot::Digest(first + at))));
            let rows = copy_out(&mut connection, &table, &condition).await?;
            if !rows.is_empty() {
                filled.push((table, cut(&rows, &slots)));
            }
        }
        ensure!(filled.iter().any(|(table, _)| table.name == "orders"), "the template has no rows");
        Ok(Self { tables: filled, ids, seed: fastrand::u64(..) })
    }

    /// Loads `count` orders from place `first` of the row with this prefix.
    pub(crate) async fn load(
        &self,
        pool: &PgPool,
        scope: Scope,
        prefix: &str,
        first: usize,
        count: usize,
    ) -> Result<()> {
        let mut connection = pool.acquire().await?;
        // The rows fit together as they are: their foreign keys are not checked one by one.
        let unchecked = sqlx::query("set session_replication_role = replica");
        unchecked.execute(&mut *connection).await.context("needs a superuser")?;
        let wanted = |table: &Table| scope == Scope::All || LEDGER.contains(&&*table.name);
        for (table, pieces) in self.tables.iter().filter(|(table, _)| wanted(table)) {
            let Table { name, columns, .. } = table;
            let columns = columns.join(", ");
            let statement = format!("copy {name} ({columns}) from stdin");
            let mut copy = connection.copy_in_raw(&statement).await?;
            let mut rows = Vec::with_capacity(COPY_BYTES + COPY_BYTES / 8);
            for n in first..first + count {
                self.write(pieces, &notification::out_trade_no(prefix, n), n, &mut rows);
                if rows.len() >= COPY_BYTES {
                    copy.send(&rows[..]).await?;
                    rows.clear();
                }
            }
            copy.send(&rows[..]).await?;
            copy.finish().await.with_context(|| format!("cannot load {name}"))?;
        }
        // The connection keeps the setting, so it is not given back.
        connection.detach().close().await?;
        Ok(())
    }

    fn write(&self, pieces: &[Piece], number: &str, n: usize, rows: &mut Vec<u8>) {
        for piece in pieces {
            let slot = match piece {
                Piece::Text(text) => {
                    rows.extend_from_slice(text);
                    continue;
                }
                Piece::Slot(slot) => slot,
            };
            let transaction = || format!("42{n:026}");
            match slot {
                Slot::Number => rows.extend_from_slice(number.as_bytes()),
                Slot::NumberInHex => rows.extend(hex(number.as_bytes())),
                Slot::Transaction => rows.extend_from_slice(transaction().as_bytes()),
                Slot::TransactionInHex => rows.extend(hex(transaction().as_bytes())),
                Slot::Id(at) => {
                    // Ascending, as the ids of the system are.
                    let id = self.ids[*at].as_u128().wrapping_add((n as u128 + 1) << 20);
                    rows.extend_from_slice(Uuid::from_u128(id).to_string().as_bytes());
                }
                Slot::Digest(at) => {
                    let mut random =
                        fastrand::Rng::with_seed(self.seed ^ ((n as u64) << 8) ^ *at as u64);
                    let digest = format!("{:032x}{:032x}", random.u128(..), random.u128(..));
                    rows.extend_from_slice(digest.as_bytes());
                }
            }
        }
    }
}

/// Events that the broker has not confirmed yet.
async fn pending(pool: &PgPool) -> Result<i64> {
    Ok(sqlx::query_scalar("select count(*) from outbox").fetch_one(pool).await?)
}

async fn digests(
    connection: &mut PgConnection,
    table: &Table,
    condition: &str,
) -> Result<Vec<Vec<u8>>> {
    let mut digests = Vec::new();
    for column in &table.byteas {
        let name = &table.name;
        let select = format!(
            "select {column} from {name} where {condition} and octet_length({column}) = {DIGEST_BYTES}"
        );
        digests.extend(
            sqlx::query_scalar::<_, Vec<u8>>(AssertSqlSafe(select))
                .fetch_all(&mut *connection)
                .await?,
        );
    }
    Ok(digests)
}

async fn copy_out(
    connection: &mut PgConnection,
    table: &Table,
    condition: &str,
) -> Result<Vec<u8>> {
    use futures_util::TryStreamExt;

    let Table { name, columns, .. } = table;
    let columns = columns.join(", ");
    let statement = format!("copy (select {columns} from {name} where {condition}) to stdout");
    let rows = connection.copy_out_raw(&statement).await?;
    Ok(rows.try_fold(Vec::new(), async |all, part| Ok([&all[..], &part[..]].concat())).await?)
}

/// Cuts the rows at everything that differs from order to order.
fn cut(rows: &[u8], slots: &[(Vec<u8>, Slot)]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut text = Vec::new();
    let mut rest = rows;
    while let Some(byte) = rest.first() {
        match slots.iter().find(|(needle, _)| rest.starts_with(needle)) {
            Some((needle, slot)) => {
                pieces.push(Piece::Text(std::mem::take(&mut text)));
                pieces.push(Piece::Slot(*slot));
                rest = &rest[needle.len()..];
            }
            None => {
                text.push(*byte);
                rest = &rest[1..];
            }
        }
    }
    pieces.push(Piece::Text(text));
    pieces
}

fn hex(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect()
}
