//! Brings checks of orders forward: `next_check_at` becomes now, and the reconciler of a running
//! worker queries WeChat.

use orders::OrderKey;
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::operator_actions::{self, OperatorAction};
use super::{Store, StoreError};

/// The orders to check now.
#[derive(Clone, Copy, Debug)]
pub(crate) enum CheckScope<'a> {
    /// One order in any state.
    Order(&'a OrderKey),
    /// All orders that were closed at this time or later.
    ClosedSince(OffsetDateTime),
}

impl Store {
    /// Checks an order now, unless it is `paid` or `failed`. Returns whether there is such an
    /// order.
    pub(crate) async fn schedule_check(&self, key: &OrderKey) -> Result<bool, StoreError> {
        let done = sqlx::query!(
            "/* schedule_check */
            update orders set next_check_at = now()
            where mch_id = $1 and out_trade_no = $2
                and state in ('created', 'payable', 'closing', 'closed')",
            key.mch_id.as_str(),
            key.out_trade_no.as_str(),
        )
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Checks orders now, on behalf of an operator. Returns how many.
    pub(crate) async fn request_checks(
        &self,
        scope: CheckScope<'_>,
        action: &OperatorAction,
    ) -> Result<u64, StoreError> {
        let mut tx = self.pool.begin().await?;
        let count = match scope {
            CheckScope::Order(key) => check_order(&mut tx, key).await?,
            CheckScope::ClosedSince(since) => check_closed_since(&mut tx, since).await?,
        };
        // Nothing was done about an order that does not exist. A time range is recorded even if it
        // is empty.
        if count > 0 || matches!(scope, CheckScope::ClosedSince(_)) {
            operator_actions::insert(&mut tx, action).await?;
        }
        tx.commit().await?;
        Ok(count)
    }
}

async fn check_order(connection: &mut PgConnection, key: &OrderKey) -> Result<u64, StoreError> {
    let done = sqlx::query!(
        "/* request_check */
        update orders set next_check_at = now() where mch_id = $1 and out_trade_no = $2",
        key.mch_id.as_str(),
        key.out_trade_no.as_str(),
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// A late payment of which the notification is lost is found in no other way.
async fn check_closed_since(
    connection: &mut PgConnection,
    since: OffsetDateTime,
) -> Result<u64, StoreError> {
    let done = sqlx::query!(
        "/* request_checks_of_closed */
        update orders set next_check_at = now() where state = 'closed' and closed_at >= $1",
        since,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// Resumes the checks of an order that an exception stopped or slowed down, and forgets its failed
/// calls. Returns whether there is such an order that is still open.
pub(super) async fn resume_checks(
    connection: &mut PgConnection,
    mch_id: &str,
    out_trade_no: &str,
) -> Result<bool, StoreError> {
    let done = sqlx::query!(
        "/* resume_checks */
        update orders set next_check_at = now(), unknown_count = 0, same_failure_count = 0
        where mch_id = $1 and out_trade_no = $2 and state in ('created', 'payable', 'closing')",
        mch_id,
        out_trade_no,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}
