//! `order.close`: from here on nobody shall begin to pay. The reconciler asks WeChat and closes.

use std::time::Duration;

use broker::{Delivery, Outcome};
use orders::{Fact, OrderKey, Problem, Reply, Source, StateName};
use time::OffsetDateTime;

use super::{Commands, trouble};
use crate::store::{ObservedFact, SettlementInput, StoreError};
use crate::{clock, failpoint, trace};

/// A close may overtake its create; so long it waits for it (design 5).
const CREATE_MAY_FOLLOW: time::Duration = time::Duration::seconds(60);
/// A sender's clock may be ahead of ours by so much.
const CLOCK_AHEAD_MAX: time::Duration = time::Duration::seconds(60);
const SNOOZE: Duration = Duration::from_secs(5);
/// Without a time of sending, attempts are what bounds the wait: 5 s, then 30 s.
const ATTEMPTS_WITHOUT_TIME: u32 = 3;

pub(super) async fn handle(commands: &Commands, delivery: &Delivery) -> Outcome {
    let key = match OrderKey::parse(&delivery.body) {
        Ok(key) => key,
        Err(invalid) => return commands.refuse(delivery, invalid).await,
    };
    if let Err(problem) = commands.merchant(delivery, &key.mch_id) {
        return commands.decline_key(delivery, &key, *problem).await;
    }
    close(commands, delivery, &key).await.unwrap_or_else(|error| trouble(&error))
}

async fn close(
    commands: &Commands,
    delivery: &Delivery,
    key: &OrderKey,
) -> Result<Outcome, StoreError> {
    failpoint::reached("close.taken");
    let store = &commands.service.store;
    if store.find(key).await?.is_none() {
        return Ok(match wait_for_create(delivery) {
            Some(outcome) => outcome,
            None => commands.decline_key(delivery, key, Problem::not_found()).await,
        });
    }
    let fact = ObservedFact {
        traceparent: trace::of(delivery),
        ..ObservedFact::new(key.clone(), Fact::CloseRequested, Source::Shop)
    };
    let settled = commands.service.settle(&[SettlementInput::fact(fact)]).await?;
    failpoint::reached("close.settled");
    let Some(view) = settled.into_iter().next().and_then(|settled| settled.view) else {
        return Err(StoreError::Fault("an order is gone".to_owned()));
    };
    if view.state == StateName::Paid {
        return Ok(commands.decline_key(delivery, key, Problem::already_paid()).await);
    }
    commands.reply(delivery, &Reply::order(200, view));
    Ok(Outcome::Done)
}

/// `None` when the create has had its time.
fn wait_for_create(delivery: &Delivery) -> Option<Outcome> {
    let sent = delivery.timestamp_seconds.and_then(|seconds| i64::try_from(seconds).ok());
    let sent = sent.and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    let age = sent.map(|sent| clock::now() - sent);
    match age.filter(|age| *age > -CLOCK_AHEAD_MAX) {
        Some(age) => (age < CREATE_MAY_FOLLOW).then_some(Outcome::Snooze(SNOOZE)),
        None => (delivery.attempt < ATTEMPTS_WITHOUT_TIME)
            .then(|| Outcome::Retry { reason: "no such order yet".to_owned() }),
    }
}
