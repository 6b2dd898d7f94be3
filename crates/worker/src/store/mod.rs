//! Postgres: the one truth.
//!
//! Every state change is a pure decision of [`orders::Order::apply`] on a locked row, written with
//! its transition, its event and its evidence in one transaction.
//!
//! No future of this module may be dropped before it is done: a cancelled `begin()` poisons its
//! connection (transact-rs/sqlx#4385). Callers run in tasks that are never aborted, so nothing
//! here is wrapped in a timeout or a `select!`; the server's own timeouts bound every statement.

mod accept;
mod actions;
mod bad_signatures;
mod calls;
mod evidence;
mod exceptions;
mod explain;
mod gauges;
mod lease;
mod outbox;
mod rejections;
mod replay;
mod resend;
mod row;
mod settle;
mod unknown;
mod view;
mod write;

pub use accept::{Acceptance, Accepted};
pub use actions::Action;
pub use calls::Call;
pub use evidence::{DigestPrefix, KeptNotification, NotificationSummary};
pub use exceptions::{ExceptionId, ExceptionLine, Resolution};
pub use explain::{CallLine, Entry, Explanation, What};
pub use gauges::{Gauges, Unsettled};
pub use outbox::{Depth, Due, OutboxNotifier, OutboxReceiver, Outgoing};
pub use resend::Resent;
pub use row::Stored;
pub use settle::{
    Evidence, ExceptionNotice, NotificationStatus, ObservedFact, Settled, SettlementInput,
};
pub use view::Story;

use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};

use crate::schedule::CheckSchedule;

/// Two workers with batches of 50 already saturate one server; more only queue inside Postgres.
const CONNECTIONS_MAX: u32 = 16;
/// A pool that has no connection for this long is answered as trouble, and the message waits in
/// the broker instead of in memory. With a call to WeChat before it, well within the call lease:
/// giving up early would throw away what the call has brought.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

/// SQLSTATE classes of what passes: connections, logins that are refused until a person mends the
/// password or the server's rules, rollbacks (serialization, deadlock), resources, locks not to be
/// had, interventions (statement timeout, shutdown), the system.
const TRANSIENT: [&str; 7] = ["08", "28", "40", "53", "55", "57", "58"];

/// Lines of one kind that are read for a person; more than anybody reads, and all of an ordinary
/// order's.
const LINES_MAX: i64 = 500;

/// The store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    pool: PgPool,
    outbox: OutboxNotifier,
    schedule: CheckSchedule,
}

/// Why the store did not do what it was asked. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Postgres cannot be reached, or gave up on a lock: the same may succeed later.
    #[error("the database is not available")]
    Unavailable(#[source] sqlx::Error),
    /// Another writer was first; read again.
    #[error("another writer was first: {0}")]
    Conflict(&'static str),
    /// A stored row breaks the rules of the types, or a statement is wrong: a fault of ours.
    #[error("the store is at fault: {0}")]
    Fault(String),
}

impl Store {
    /// Opens the pool without waiting for the server: a worker starts and says "not ready" while
    /// its database is away. Committed events go to the relay through `outbox`;
    /// `schedule` decides when an order is looked at again.
    ///
    /// # Errors
    /// When the URL is no Postgres URL.
    pub fn open(
        database_url: &str,
        outbox: OutboxNotifier,
        schedule: CheckSchedule,
    ) -> Result<Self, sqlx::Error> {
        let options =
            PgConnectOptions::from_str(database_url)?.application_name("wxpay-worker").options([
                ("statement_timeout", "5s"),
                ("lock_timeout", "2s"),
                ("idle_in_transaction_session_timeout", "10s"),
            ]);
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .test_before_acquire(false)
            .before_acquire(|connection, _| Box::pin(is_outside_a_transaction(connection)))
            .connect_lazy_with(options);
        Ok(Self { pool, outbox, schedule })
    }

    /// Whether the server answers.
    pub async fn ping(&self) -> bool {
        sqlx::query("select 1").execute(&self.pool).await.is_ok()
    }

    /// Closes every connection.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// Replaces sqlx's ping: in a transaction that somebody left open the two times differ, and what
/// is written there would never be seen (transact-rs/sqlx#4385). It must be the simple protocol,
/// in which a statement alone is its own transaction.
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
                other => Self::Unavailable(other),
            };
        };
        match database.constraint() {
            Some("orders_transaction_id") => Self::Conflict("transaction_id"),
            Some("order_transitions_pkey") => Self::Conflict("seq"),
            Some("orders_pkey") => Self::Conflict("out_trade_no"),
            // Constraint names are ours; a message could quote a row.
            Some(name) => Self::Fault(format!("constraint {name}")),
            None => match database.code().as_deref() {
                Some(code) if TRANSIENT.iter().any(|class| code.starts_with(class)) => {
                    Self::Unavailable(error)
                }
                Some(code) => Self::Fault(format!("SQLSTATE {code}")),
                None => Self::Unavailable(error),
            },
        }
    }
}
