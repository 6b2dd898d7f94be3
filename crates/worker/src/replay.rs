//! Evaluates a stored notification again, as after a key or the code was fixed.

use broker::Delivery;
use orders::{OrderKey, OrderView};
use time::format_description::well_known::Rfc3339;

use crate::merchants::Merchants;
use crate::notifications::{self, Reading};
use crate::store::{
    NotificationStatus, OperatorAction, SettlementInput, Store, StoreError, StoredNotification,
};

#[derive(Clone, Copy, Debug)]
pub enum Mode<'a> {
    /// Decides, and rolls back.
    DryRun,
    /// Decides and stores, with the operator's action.
    Commit(&'a OperatorAction),
}

#[derive(Clone, Debug)]
pub enum Replayed {
    Evaluated(Box<Evaluation>),
    /// For a merchant that is not configured, or not a notification: the reason.
    Skipped(&'static str),
}

#[derive(Clone, Debug)]
pub struct Evaluation {
    pub status: NotificationStatus,
    /// The reason of the status, in words without values.
    pub detail: Option<String>,
    /// The order of an authentic notification.
    pub key: Option<OrderKey>,
    /// The order before, if it exists.
    pub before: Option<OrderView>,
    pub after: Option<OrderView>,
}

/// Reads and decides as the handler of the queue does.
///
/// # Errors
/// Then nothing is written.
pub async fn notification(
    store: &Store,
    merchants: &Merchants,
    kept: &StoredNotification,
    mode: Mode<'_>,
) -> Result<Replayed, StoreError> {
    let input = match notifications::read(merchants, &delivery_of(kept)) {
        Reading::Authentic { input, .. } => *input,
        Reading::Unverified { evidence, .. } => SettlementInput::Evidence(*evidence),
        Reading::Ignored(why) | Reading::Parked(why) => return Ok(Replayed::Skipped(why)),
    };
    let key = input.observed_fact().map(|observed| observed.key.clone());
    let before = match &key {
        Some(key) => store.view(key).await?,
        None => None,
    };
    let settled = match mode {
        Mode::DryRun => store.dry_run_notification(&input).await?,
        Mode::Commit(action) => store.replay_notification(&input, action).await?,
    };
    let evidence = input.evidence();
    let status = settled.as_ref().map(|settled| settled.status);
    let status = status.or(evidence.map(|evidence| evidence.status));
    let status = status.ok_or_else(|| StoreError::Fault("a notification unjudged".to_owned()))?;
    if let (
        Mode::Commit(_),
        NotificationStatus::Exception | NotificationStatus::Refused,
        Some(key),
    ) = (mode, status, &key)
    {
        // As after any payment that does not fit: the query proves what the notification cannot.
        store.schedule_check(key).await?;
    }
    Ok(Replayed::Evaluated(Box::new(Evaluation {
        status,
        detail: evidence.and_then(|evidence| evidence.detail.clone()),
        key,
        before,
        after: settled.and_then(|settled| settled.view),
    })))
}

/// The delivery that once brought it.
fn delivery_of(kept: &StoredNotification) -> Delivery {
    let mut delivery = Delivery::new(kept.kind.clone(), kept.raw.clone());
    let received_at = kept.received_at.format(&Rfc3339).unwrap_or_default();
    delivery.headers =
        vec![("mch_id".to_owned(), kept.mch_id.clone()), ("received_at".to_owned(), received_at)];
    delivery
}
