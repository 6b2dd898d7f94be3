//! Today's code on a notification that was kept: after a key or a reader is mended, yesterday can
//! be too.

use broker::Delivery;
use orders::{OrderKey, OrderView};
use time::format_description::well_known::Rfc3339;

use crate::Merchants;
use crate::notifications::{self, Reading};
use crate::store::{
    NotificationStatus, OperatorAction, SettlementInput, Store, StoreError, StoredNotification,
};

/// Whether the decision counts.
#[derive(Clone, Copy, Debug)]
pub enum Mode<'a> {
    /// It is made and taken back.
    DryRun,
    /// It is kept, with whoever wanted it.
    Commit(&'a OperatorAction),
}

/// What a notification comes to.
#[derive(Clone, Debug)]
pub enum Replayed {
    /// It was judged.
    Judged(Box<Judged>),
    /// It is about nobody we act for, or no notification; for what reason.
    NotOurs(&'static str),
}

/// A judgement.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The status of today.
    pub status: NotificationStatus,
    /// Why, in words without values.
    pub detail: Option<String>,
    /// The order it speaks of, where it is authentic.
    pub key: Option<OrderKey>,
    /// That order before, where we know it.
    pub before: Option<OrderView>,
    /// That order after, where we know it.
    pub after: Option<OrderView>,
}

/// Reads a notification as the handler of the queue does, and decides as it does.
///
/// # Errors
/// When the store cannot; nothing is written then.
pub async fn notification(
    store: &Store,
    merchants: &Merchants,
    kept: &StoredNotification,
    mode: Mode<'_>,
) -> Result<Replayed, StoreError> {
    let input = match notifications::read(merchants, &delivery_of(kept)) {
        Reading::Keep { input, .. } => *input,
        Reading::Unverified { evidence, .. } => SettlementInput::Evidence(*evidence),
        Reading::Count(why) | Reading::Park(why) => return Ok(Replayed::NotOurs(why)),
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
    Ok(Replayed::Judged(Box::new(Judged {
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
