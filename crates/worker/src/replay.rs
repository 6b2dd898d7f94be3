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
pub(crate) enum Mode<'a> {
    /// Decides, and rolls back.
    DryRun,
    /// Decides and stores, with the operator's action.
    Commit(&'a OperatorAction),
}

#[derive(Clone, Debug)]
pub(crate) enum Replayed {
    Evaluated(Box<Evaluation>),
    /// For a merchant that is not configured, or not a notification: the reason.
    Skipped(&'static str),
}

#[derive(Clone, Debug)]
pub(crate) struct Evaluation {
    pub(crate) status: NotificationStatus,
    /// The reason of the status, in words without values.
    pub(crate) detail: Option<String>,
    /// The order of an authentic notification.
    pub(crate) key: Option<OrderKey>,
    /// The order before, if it exists.
    pub(crate) before: Option<OrderView>,
    pub(crate) after: Option<OrderView>,
}

/// Reads and decides as the handler of the queue does.
pub(crate) async fn notification(
    store: &Store,
    merchants: &Merchants,
    stored: &StoredNotification,
    mode: Mode<'_>,
) -> Result<Replayed, StoreError> {
    let input = match notifications::read(merchants, &delivery_of(stored)) {
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
    let status =
        status.ok_or_else(|| StoreError::Fault("a notification without a status".to_owned()))?;
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

/// The delivery as the ingress published it.
fn delivery_of(stored: &StoredNotification) -> Delivery {
    let mut delivery = Delivery::new(stored.kind.clone(), stored.raw.clone());
    let received_at = stored.received_at.format(&Rfc3339).unwrap_or_default();
    delivery.headers =
        vec![("mch_id".to_owned(), stored.mch_id.clone()), ("received_at".to_owned(), received_at)];
    delivery
}
