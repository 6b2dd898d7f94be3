//! Exceptions in a person's hands.

use orders::{Difference, ExceptionKind};
use serde::Serialize;
use sqlx::PgConnection;
use sqlx::types::Json;
use time::OffsetDateTime;

use super::{Action, Store, StoreError, actions};

/// An exception as it is stored.
#[derive(Clone, Debug, Serialize)]
pub struct ExceptionLine {
    /// The merchant.
    pub mch_id: String,
    /// The order's number, `-` where there is none.
    pub out_trade_no: String,
    /// The kind.
    pub kind: String,
    /// The payment it is about; empty where there is none.
    pub transaction_id: String,
    /// When it was found first.
    #[serde(with = "time::serde::rfc3339")]
    pub opened_at: OffsetDateTime,
    /// How often it was found, where that is counted.
    pub found_count: i64,
    /// What differs.
    pub differs: Json<Vec<Difference>>,
    /// When a person or a rule closed it.
    #[serde(with = "time::serde::rfc3339::option")]
    pub resolved_at: Option<OffsetDateTime>,
    /// What was said then.
    pub resolution: Option<String>,
}

/// Names one exception.
#[derive(Clone, Debug)]
pub struct ExceptionId {
    /// The merchant.
    pub mch_id: String,
    /// The order's number, `-` where there is none.
    pub out_trade_no: String,
    /// The kind.
    pub kind: ExceptionKind,
    /// Only needed to tell two of a kind apart.
    pub transaction_id: Option<String>,
}

/// What became of a resolution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// It is resolved now.
    Resolved {
        /// WeChat is asked about the order again.
        polled: bool,
    },
    /// Somebody was faster.
    Already {
        /// When.
        at: OffsetDateTime,
        /// What they said.
        resolution: String,
    },
    /// Several of the kind are open, with these transactions.
    Several(Vec<String>),
    /// There is none.
    Unknown,
}

/// Kinds of which a query that confirmed them, or gave no answer, ended or slowed the polling.
const POLLED_AGAIN: [ExceptionKind; 3] =
    [ExceptionKind::AmountMismatch, ExceptionKind::IdentityMismatch, ExceptionKind::Unsettled];

impl Store {
    /// Exceptions, oldest first; the resolved ones only when `all` are wanted.
    ///
    /// # Errors
    /// When the store cannot.
    pub async fn exceptions(
        &self,
        kind: Option<ExceptionKind>,
        all: bool,
        limit: i64,
    ) -> Result<Vec<ExceptionLine>, StoreError> {
        let lines = sqlx::query_as!(
            ExceptionLine,
            r#"/* list_exceptions */
            select mch_id, out_trade_no, kind, transaction_id, opened_at, found_count,
                differs as "differs: _", resolved_at, resolution
            from exceptions
            where ($1::text is null or kind = $1) and ($2 or resolved_at is null)
            order by opened_at, event_id limit $3"#,
            kind.map(ExceptionKind::as_str),
            all,
            limit,
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(lines)
    }

    /// Every exception of a number, oldest first.
    ///
    /// # Errors
    /// When the store cannot.
    pub async fn exceptions_of(
        &self,
        mch_id: &str,
        out_trade_no: &str,
    ) -> Result<Vec<ExceptionLine>, StoreError> {
        let lines = sqlx::query_as!(
            ExceptionLine,
            r#"/* exceptions_of_number */
            select mch_id, out_trade_no, kind, transaction_id, opened_at, found_count,
                differs as "differs: _", resolved_at, resolution
            from exceptions where mch_id = $1 and out_trade_no = $2
            order by opened_at desc, event_id desc limit $3"#,
            mch_id,
            out_trade_no,
            super::LINES_MAX,
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(lines.into_iter().rev().collect())
    }

    /// Resolves an exception, for the reason of the action. Where it had stopped the polling of an
    /// order that is not at its end, the polling goes on, with the retries counted from zero.
    ///
    /// # Errors
    /// When the store cannot; nothing is written then.
    pub async fn resolve_exception(
        &self,
        which: &ExceptionId,
        reason: &str,
        action: &Action,
    ) -> Result<Resolution, StoreError> {
        let mut tx = self.pool.begin().await?;
        let transaction_id = match open_one(&mut tx, which).await? {
            Ok(transaction_id) => transaction_id,
            Err(none) => {
                tx.rollback().await?;
                return Ok(none);
            }
        };
        sqlx::query!(
            "/* resolve_exception */
            update exceptions set resolved_at = now(), resolution = $5
            where mch_id = $1 and out_trade_no = $2 and kind = $3 and transaction_id = $4",
            which.mch_id,
            which.out_trade_no,
            which.kind.as_str(),
            transaction_id,
            reason,
        )
        .execute(&mut *tx)
        .await?;
        let polled = POLLED_AGAIN.contains(&which.kind) && poll_again(&mut tx, which).await?;
        actions::write(&mut tx, action).await?;
        tx.commit().await?;
        Ok(Resolution::Resolved { polled })
    }
}

/// The transaction of the one open exception that is meant, locked; or why there is not one.
async fn open_one(
    connection: &mut PgConnection,
    which: &ExceptionId,
) -> Result<Result<String, Resolution>, StoreError> {
    let rows = sqlx::query!(
        "/* lock_exceptions_of_kind */
        select transaction_id, resolved_at, resolution from exceptions
        where mch_id = $1 and out_trade_no = $2 and kind = $3
            and ($4::text is null or transaction_id = $4)
        order by opened_at, transaction_id for update",
        which.mch_id,
        which.out_trade_no,
        which.kind.as_str(),
        which.transaction_id,
    )
    .fetch_all(connection)
    .await?;
    let open = rows.iter().filter(|row| row.resolved_at.is_none());
    let mut open: Vec<String> = open.map(|row| row.transaction_id.clone()).collect();
    Ok(match (open.len(), rows.last()) {
        (1, _) => Ok(open.swap_remove(0)),
        (0, Some(last)) => Err(Resolution::Already {
            at: last.resolved_at.unwrap_or(OffsetDateTime::UNIX_EPOCH),
            resolution: last.resolution.clone().unwrap_or_default(),
        }),
        (0, None) => Err(Resolution::Unknown),
        (_, _) => Err(Resolution::Several(open)),
    })
}

async fn poll_again(
    connection: &mut PgConnection,
    which: &ExceptionId,
) -> Result<bool, StoreError> {
    let done = sqlx::query!(
        "/* poll_order_again */
        update orders set next_check_at = now(), unknown_count = 0, same_failure_count = 0
        where mch_id = $1 and out_trade_no = $2 and state in ('created', 'payable', 'closing')",
        which.mch_id,
        which.out_trade_no,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}
