//! The table `operator_actions`: who did what, and why. An action is written in the transaction of
//! its effect.

use sqlx::PgConnection;

use super::{Store, StoreError};

#[derive(Clone, Debug)]
pub(crate) struct OperatorAction {
    /// The user, as the operating system names it.
    pub(crate) operator: String,
    /// `order close` and the like.
    pub(crate) verb: &'static str,
    /// What it is done to. It begins with the key of the order, if there is one, and a space
    /// separates the rest.
    pub(crate) subject: String,
    /// Given where the verb asks for it.
    pub(crate) reason: Option<String>,
}

impl Store {
    /// Records an action whose effect is outside the database. The caller acts only when this
    /// succeeds.
    pub(crate) async fn record_action(&self, action: &OperatorAction) -> Result<(), StoreError> {
        insert(&mut *self.pool.acquire().await?, action).await
    }
}

pub(super) async fn insert(
    connection: &mut PgConnection,
    action: &OperatorAction,
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
