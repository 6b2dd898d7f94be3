use orders::{Difference, ExceptionKind};
use serde::Serialize;
use sqlx::PgConnection;
use sqlx::types::Json;
use time::OffsetDateTime;

use crate::store::operator_actions::{self, OperatorAction};
use crate::store::request_checks::resume_checks;
use crate::store::{LINES_MAX, Store, StoreError};

/// One row of the table.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ExceptionLine {
    pub(crate) mch_id: String,
    /// `-` where there is no order.
    pub(crate) out_trade_no: String,
    pub(crate) kind: String,
    /// Empty where there is no payment.
    pub(crate) transaction_id: String,
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) opened_at: OffsetDateTime,
    /// Counted for `bad_signature` only.
    pub(crate) found_count: i64,
    pub(crate) differs: Json<Vec<Difference>>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub(crate) resolved_at: Option<OffsetDateTime>,
    /// The reason that the operator gave, or the rule that resolved it.
    pub(crate) resolution: Option<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct ExceptionId {
    pub(crate) mch_id: String,
    /// `-` where there is no order.
    pub(crate) out_trade_no: String,
    pub(crate) kind: ExceptionKind,
    /// Needed only where several of one kind are open.
    pub(crate) transaction_id: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Resolution {
    /// `polled`: WeChat is queried about the order again.
    Resolved { polled: bool },
    /// It was resolved before.
    Already { at: OffsetDateTime, resolution: String },
    /// Several of the kind are open, with these transactions.
    Several(Vec<String>),
    /// There is no such exception.
    Unknown,
}

/// The kinds that stop the checks of an order once a query confirms them, or slow the checks down
/// because queries have no outcome.
const STOPS_CHECKS: [ExceptionKind; 3] =
    [ExceptionKind::AmountMismatch, ExceptionKind::IdentityMismatch, ExceptionKind::Unsettled];

impl Store {
    /// Lists exceptions, oldest first; resolved ones only with `all`.
    pub(crate) async fn exceptions(
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

    /// The exceptions of a number, oldest first, at most the newest [`LINES_MAX`].
    pub(crate) async fn exceptions_of(
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
            LINES_MAX,
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(lines.into_iter().rev().collect())
    }

    /// Resolves an exception. When it had stopped the checks of an order that is still open, the
    /// checks resume.
    pub(crate) async fn resolve_exception(
        &self,
        which: &ExceptionId,
        reason: &str,
        action: &OperatorAction,
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
        let polled = STOPS_CHECKS.contains(&which.kind)
            && resume_checks(&mut tx, &which.mch_id, &which.out_trade_no).await?;
        operator_actions::insert(&mut tx, action).await?;
        tx.commit().await?;
        Ok(Resolution::Resolved { polled })
    }
}

/// Locks the open exception that `which` names and returns its transaction, or why there is not
/// exactly one.
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
