//! Postgres, the source of truth. One file for each table, and one for each transaction across
//! tables: `accept`, `settle`, `request_close`, `replay`, `resend`.
//!
//! Every change of an order's state is a pure decision of [`orders::Order::apply`] on a locked row,
//! written in one transaction with its transition, its event and its evidence.
//!
//! No future of this module may be dropped before it is done: a cancelled `begin()` poisons its
//! connection (transact-rs/sqlx#4385). Callers run in tasks that are never aborted, so nothing
//! here is wrapped in a timeout or a `select!`; the server's own timeouts bound every statement.

mod accept;
mod exceptions;
mod gateway_calls;
mod gauges;
mod history;
mod keys;
mod leases;
mod lost_notifications;
mod notifications;
mod operator_actions;
mod orders;
mod outbox;
mod rejections;
mod replay_events;
mod replay_notification;
mod request_checks;
mod request_close;
mod retention;
mod settle;
mod settlement_batch;
mod settlement_input;
mod transitions;
mod unknown_outcomes;
mod workers;

pub(crate) use self::gauges::{Gauges, OpenOrders};
pub(crate) use self::orders::{Acceptance, StoredOrder};
pub(crate) use exceptions::{ExceptionId, ExceptionLine, Resolution};
pub(crate) use gateway_calls::{CallLine, CallRecord};
pub(crate) use history::{OrderHistory, TimelineEntry, TimelineEvent};
pub(crate) use leases::DeferredFirstCall;
pub(crate) use notifications::{
    DigestPrefix, Evidence, NotificationStatus, NotificationSummary, StoredNotification,
};
pub(crate) use operator_actions::OperatorAction;
pub(crate) use outbox::{
    Depth, Due, OutboxNotifier, OutboxReceiver, Outgoing, SWEEP_LEASE, TakeLimits, WRITER_LEASE,
};
pub(crate) use request_checks::CheckScope;
pub(crate) use settlement_batch::Settled;
pub(crate) use settlement_input::{ObservedFact, SettlementInput};
pub(crate) use workers::Rates;

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{Postgres, Transaction};
use time::OffsetDateTime;

use crate::schedule::CheckSchedule;

/// Two workers with batches of 50 already saturate one server; more only queue inside Postgres.
const CONNECTIONS_MAX: u32 = 16;
/// After this wait for a connection the database counts as unavailable, and the message waits in
/// the broker instead of in memory. The call to WeChat before it and this wait fit into the call
/// lease: giving up earlier would throw away the outcome of the call.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

/// SQLSTATE classes of errors that pass: connections, logins that are refused until an operator
/// fixes the password or the server's rules, rollbacks (serialization, deadlock), resources, locks,
/// interventions (statement timeout, shutdown), the system.
const TRANSIENT: [&str; 7] = ["08", "28", "40", "53", "55", "57", "58"];

/// How long a statement about many rows waits for one that another transaction has locked. A settle
/// takes a few milliseconds; whatever holds a row for longer must not hold its neighbours.
const BEGIN_BATCH: &str = "begin; set local lock_timeout = '100ms'";

/// Rows of one kind that are read for an operator: more than anyone reads, and all rows of an
/// ordinary order.
const LINES_MAX: i64 = 500;

/// A pool of connections, cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    pool: PgPool,
    outbox: OutboxNotifier,
    schedule: CheckSchedule,
}

/// The error of every method of [`Store`]. Nothing was written, unless the method says otherwise.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// Postgres cannot be reached, or gave up on a lock: the same may succeed later.
    #[error("the database is not available")]
    Unavailable(#[source] Arc<sqlx::Error>),
    /// Another writer was first; read again.
    #[error("another writer was first: {0}")]
    Conflict(&'static str),
    /// A stored row breaks the rules of the types, or a statement is wrong: a bug.
    #[error("the store is at fault: {0}")]
    Fault(String),
}

impl StoreError {
    /// Whether single rows of a batch may be at fault, so that its other rows should be tried
    /// without them: a locked row, a statement that took too long, a serialization failure, a value
    /// that Postgres refuses. Not when the server is away.
    pub(crate) fn is_about_rows(&self) -> bool {
        match self {
            Self::Conflict(_) | Self::Fault(_) => true,
            Self::Unavailable(error) => {
                let code = error.as_database_error().and_then(|error| error.code());
                code.is_some_and(|code| {
                    code == "57014" || code.starts_with("40") || code.starts_with("55")
                })
            }
        }
    }
}

impl Store {
    /// Opens the pool without waiting for the server: a worker starts and reports "not ready" while
    /// the database is unavailable. Committed events go to the relay through `outbox`. `schedule`
    /// decides when an order is checked again.
    ///
    /// # Errors
    /// When `database_url` is no Postgres URL.
    pub(crate) fn open(
        database_url: &str,
        outbox: OutboxNotifier,
        schedule: CheckSchedule,
    ) -> Result<Self, sqlx::Error> {
        let options =
            PgConnectOptions::from_str(database_url)?.application_name("wxpay-worker").options([
                ("statement_timeout", "5s"),
                ("lock_timeout", "2s"),
                ("idle_in_transaction_session_timeout", "10s"),
                // A table like the outbox is empty at one moment and large at the next, and plans
                // are kept. Every statement has an index: it is to be used whatever the size. What
                // has none looks so expensive then that Postgres would compile it each time.
                ("enable_seqscan", "off"),
                ("enable_hashjoin", "off"),
                ("enable_mergejoin", "off"),
                ("jit", "off"),
            ]);
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .test_before_acquire(false)
            .before_acquire(|connection, _| Box::pin(is_outside_a_transaction(connection)))
            .connect_lazy_with(options);
        Ok(Self { pool, outbox, schedule })
    }

    pub(crate) async fn ping(&self) -> bool {
        sqlx::query("select 1").execute(&self.pool).await.is_ok()
    }

    /// The time of the server.
    pub(crate) async fn clock(&self) -> Result<OffsetDateTime, StoreError> {
        let now = sqlx::query_scalar!(r#"/* clock */ select clock_timestamp() as "now!""#);
        Ok(now.fetch_one(&self.pool).await?)
    }

    /// Begins a transaction about this many rows.
    async fn begin(&self, rows: usize) -> Result<Transaction<'static, Postgres>, StoreError> {
        Ok(self.pool.begin_with(if rows > 1 { BEGIN_BATCH } else { "begin" }).await?)
    }

    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }
}

/// Replaces sqlx's ping. In a transaction that was left open the two times differ, and what is
/// written there would never be seen (transact-rs/sqlx#4385). It must be the simple protocol, in
/// which a single statement is a transaction of its own.
async fn is_outside_a_transaction(
    connection: &mut sqlx::PgConnection,
) -> Result<bool, sqlx::Error> {
    use sqlx::Row;
    let row = sqlx::raw_sql("select now() = statement_timestamp()").fetch_one(connection).await?;
    row.try_get(0)
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let Some(database) = error.as_database_error() else {
            return match error {
                sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => {
                    Self::Fault("a column does not decode".to_owned())
                }
                other => Self::Unavailable(Arc::new(other)),
            };
        };
        match database.constraint() {
            Some("orders_transaction_id") => Self::Conflict("transaction_id"),
            Some("order_transitions_pkey") => Self::Conflict("seq"),
            Some("orders_pkey") => Self::Conflict("out_trade_no"),
            // The schema's own names are safe to log; a message could quote a row.
            Some(name) => Self::Fault(format!("constraint {name}")),
            None => match database.code().as_deref() {
                Some(code) if TRANSIENT.iter().any(|class| code.starts_with(class)) => {
                    Self::Unavailable(Arc::new(error))
                }
                Some(code) => Self::Fault(format!("SQLSTATE {code}")),
                None => Self::Unavailable(Arc::new(error)),
            },
        }
    }
}
