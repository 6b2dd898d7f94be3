//! `order.close`: from now on no new payment is wanted. The reconciler queries WeChat and closes.

use std::time::Duration;

use broker::{Delivery, Outcome};
use orders::{Fact, OrderKey, Problem, Reply, Source, StateName};
use time::OffsetDateTime;

use super::context::{self, CommandContext};
use crate::store::{ObservedFact, SettlementInput, StoreError};
use crate::{clock, failpoint, traceparent};

/// A close may overtake its create. It waits this long for it.
const CREATE_WAIT: time::Duration = time::Duration::seconds(60);
/// A sender's clock may be ahead of this machine's by this much.
const CLOCK_AHEAD_MAX: time::Duration = time::Duration::seconds(60);
const SNOOZE: Duration = Duration::from_secs(5);
/// Without the time of sending, attempts limit the wait: 5 s, then 30 s.
const ATTEMPTS_WITHOUT_TIME: u32 = 3;

pub(super) async fn handle(context: &CommandContext, delivery: &Delivery) -> Outcome {
    let key = match OrderKey::parse(&delivery.body) {
        Ok(key) => key,
        Err(invalid) => return context.reject_invalid(delivery, invalid).await,
    };
    context::record_key(&key);
    if let Err(problem) = context.merchant(delivery, &key.mch_id) {
        return context.reject_order(delivery, &key, *problem).await;
    }
    let closed = close(context, delivery, &key).await;
    closed.unwrap_or_else(|error| context::store_failed(&error))
}

async fn close(
    context: &CommandContext,
    delivery: &Delivery,
    key: &OrderKey,
) -> Result<Outcome, StoreError> {
    failpoint::reached("close.taken");
    let service = &context.service;
    if service.store.find(key).await?.is_none() {
        return Ok(match wait_for_create(delivery) {
            Some(outcome) => outcome,
            None => context.reject_order(delivery, key, Problem::not_found()).await,
        });
    }
    let fact = ObservedFact {
        traceparent: traceparent::of(delivery),
        ..ObservedFact::new(key.clone(), Fact::CloseRequested, Source::Shop)
    };
    let settled = service.settle_one(SettlementInput::fact(fact)).await?;
    failpoint::reached("close.settled");
    let Some(view) = settled.view else {
        return Err(StoreError::Fault("the order to close is gone".to_owned()));
    };
    if view.state == StateName::Paid {
        return Ok(context.reject_order(delivery, key, Problem::already_paid()).await);
    }
    context.reply(delivery, &Reply::order(200, view));
    Ok(Outcome::Done)
}

/// `None` when the create had enough time.
fn wait_for_create(delivery: &Delivery) -> Option<Outcome> {
    let sent_at = delivery.timestamp_seconds.and_then(|seconds| i64::try_from(seconds).ok());
    let sent_at = sent_at.and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    let age = sent_at.map(|sent_at| clock::now() - sent_at);
    match age.filter(|age| *age > -CLOCK_AHEAD_MAX) {
        Some(age) => (age < CREATE_WAIT).then_some(Outcome::Snooze(SNOOZE)),
        None => (delivery.attempt < ATTEMPTS_WITHOUT_TIME)
            .then(|| Outcome::Retry { reason: "no such order yet".to_owned() }),
    }
}
