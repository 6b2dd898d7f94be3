//! What a person does to an order, written down with who and why in the transaction of its effect.

use orders::{Fact, OrderKey, OrderView, Source, StateName};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::settle::Decided;
use super::{ObservedFact, SettlementInput, Store, StoreError, row};

/// Who does what to what, and why.
#[derive(Clone, Debug)]
pub struct Action {
    /// The person, as the operating system names them.
    pub operator: String,
    /// `order close` and the like.
    pub verb: &'static str,
    /// What it is done to. It begins with the order's key where there is one; what follows is told
    /// apart by a space.
    pub subject: String,
    /// Why, where the verb asks for it.
    pub reason: Option<String>,
}

impl Store {
    /// Writes down what is about to be done outside the database.
    ///
    /// # Errors
    /// When the store cannot; it must not be done then.
    pub async fn record_action(&self, action: &Action) -> Result<(), StoreError> {
        write(&mut *self.pool.acquire().await?, action).await
    }

    /// Has the running workers ask WeChat about an order, whatever its state. `false` when the
    /// order is not known.
    ///
    /// # Errors
    /// When the store cannot; nothing is written then.
    pub async fn requery(&self, key: &OrderKey, action: &Action) -> Result<bool, StoreError> {
        let mut tx = self.pool.begin().await?;
        let done = sqlx::query!(
            "/* requery_order */
            update orders set next_check_at = now() where mch_id = $1 and out_trade_no = $2",
            key.mch_id.as_str(),
            key.out_trade_no.as_str(),
        )
        .execute(&mut *tx)
        .await?;
        let known = done.rows_affected() == 1;
        if known {
            write(&mut tx, action).await?;
        }
        tx.commit().await?;
        Ok(known)
    }

    /// Has every order looked at now that was closed from `since` on: a late payment of which the
    /// notification is lost shows in no other way. Returns how many.
    ///
    /// # Errors
    /// When the store cannot; nothing is written then.
    pub async fn requery_closed(
        &self,
        since: OffsetDateTime,
        action: &Action,
    ) -> Result<u64, StoreError> {
        let mut tx = self.pool.begin().await?;
        let done = sqlx::query!(
            "/* requery_closed */
            update orders set next_check_at = now() where state = 'closed' and closed_at >= $1",
            since,
        )
        .execute(&mut *tx)
        .await?;
        write(&mut tx, action).await?;
        tx.commit().await?;
        Ok(done.rows_affected())
    }

    /// Decides that an order shall be closed, and returns it as it is then; `None` when it is not
    /// known. One that is paid stays so, and nothing is written.
    ///
    /// # Errors
    /// When the store cannot; nothing is written then.
    pub async fn request_close(
        &self,
        key: &OrderKey,
        action: &Action,
    ) -> Result<Option<OrderView>, StoreError> {
        let fact = ObservedFact::new(key.clone(), Fact::CloseRequested, Source::Operator);
        let mut tx = self.pool.begin().await?;
        // A fact about an unknown number would open an exception.
        if row::find(&mut tx, key).await?.is_none() {
            tx.rollback().await?;
            return Ok(None);
        }
        let decided = self.decide(&mut tx, &[SettlementInput::fact(fact)]).await?;
        let view = decided.settled.first().and_then(|settled| settled.view.clone());
        if view.as_ref().is_some_and(|view| view.state == StateName::Paid) {
            tx.rollback().await?;
            return Ok(view);
        }
        hand_over(&mut tx, &decided).await?;
        write(&mut tx, action).await?;
        tx.commit().await?;
        self.announce(decided);
        Ok(view)
    }
}

/// Leaves events to the running workers at once: whoever writes them here is about to end.
pub(super) async fn hand_over(
    connection: &mut PgConnection,
    decided: &Decided,
) -> Result<(), StoreError> {
    let ids: Vec<Uuid> = decided.outgoing.iter().map(|outgoing| outgoing.event.id).collect();
    sqlx::query!(
        "/* hand_events_over */
        update outbox set next_attempt_at = now() where event_id = any($1)",
        &ids,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes an action down.
pub(super) async fn write(
    connection: &mut PgConnection,
    action: &Action,
) -> Result<(), StoreError> {
    sqlx::query!(
        "/* insert_operator_action */
        insert into operator_actions (operator, verb, subject, reason) values ($1, $2, $3, $4)",
        action.operator,
        action.verb,
        action.subject,
        action.reason,
    )
    .execute(connection)
    .await?;
    Ok(())
}
