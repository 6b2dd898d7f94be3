//! One check of one order: query, decide, act.

use orders::{Fact, Order, OrderKey, Source};
use time::OffsetDateTime;
use uuid::Uuid;
use wechatpay_v2::closeorder::CloseOrder;
use wechatpay_v2::orderquery::{OrderQuery, OrderStatus, TradeState};
use wechatpay_v2::{Advice, AppId, CallOutcome, Fields, Refused, Unknown};

use crate::clock;
use crate::gateway::{Admission, Priority};
use crate::order_service::{LeasedOrder, OrderService};
use crate::schedule::{self, CheckSchedule, Jitter, UnpaidAction};
use crate::store::{StoreError, StoredOrder};

/// What follows from the answer to a query.
#[derive(Debug)]
enum NextAction {
    Record(Fact),
    /// Send the first unifiedorder again, byte for byte.
    RepeatUnifiedorder,
    Close {
        exists: bool,
    },
    /// `None`: not without a new reason.
    CheckAt(Option<OffsetDateTime>),
    RecordInconclusive(Refused),
    RecordUnknown(Unknown),
}

/// Checks an order whose call lease `holder` has.
pub(super) async fn check(
    service: &OrderService,
    stored: &StoredOrder,
    holder: Uuid,
    priority: Priority,
) -> Result<(), StoreError> {
    let order = &stored.order;
    let Some(merchant) = service.merchants.get(&order.request.mch_id) else {
        return postpone(service, order, holder).await;
    };
    let leased =
        LeasedOrder { merchant: &merchant, order, holder, is_first_call: false, traceparent: None };
    let credentials = merchant.credentials(order.sign_type);
    let answer = match service.gateway.orderquery(&credentials, &query_of(order), priority).await {
        Ok(answer) => answer,
        Err(deferred) => return service.defer(&leased, &deferred).await,
    };
    match decide(answer, order, &service.schedule, clock::now()) {
        NextAction::Record(fact) => {
            service.record_fact(&leased, fact, Source::Query).await?;
            Ok(())
        }
        NextAction::RepeatUnifiedorder => {
            repeat_unifiedorder(service, &leased, &stored.parameters).await
        }
        NextAction::Close { exists } => close(service, &leased, exists).await,
        NextAction::CheckAt(at) => service.reschedule(&leased, at).await,
        NextAction::RecordInconclusive(refused) => {
            service.record_inconclusive(&leased, &refused).await
        }
        NextAction::RecordUnknown(unknown) => service.record_unknown(&leased, &unknown).await,
    }
}

/// Calls unifiedorder for an order that was never called. WeChat cannot know it, so no query comes
/// before. When its time is nearly over it is checked like any other order.
pub(super) async fn call_first(
    service: &OrderService,
    stored: &StoredOrder,
    holder: Uuid,
    admission: Admission,
) -> Result<(), StoreError> {
    let order = &stored.order;
    let merchant = service.merchants.get(&order.request.mch_id);
    let action = schedule::unpaid_action(order, &service.schedule, clock::now());
    let (Some(merchant), UnpaidAction::RepeatUnifiedorder) = (merchant, action) else {
        drop(admission);
        return check(service, stored, holder, Priority::Check).await;
    };
    let leased =
        LeasedOrder { merchant: &merchant, order, holder, is_first_call: true, traceparent: None };
    service.call_unifiedorder(&leased, &stored.parameters, Some(admission)).await?;
    Ok(())
}

/// Queries a number without an order. Nothing can change; the recorded call is evidence. A query
/// that the limiter does not permit now is left out.
pub(super) async fn query_unknown(service: &OrderService, key: OrderKey, appid: AppId) {
    let Some(merchant) = service.merchants.get(&key.mch_id) else { return };
    let query =
        OrderQuery { appid, out_trade_no: key.out_trade_no, sub_mch_id: None, sub_appid: None };
    let credentials = merchant.credentials(merchant.sign_type);
    let _ = service.gateway.orderquery(&credentials, &query, Priority::Check).await;
    service.store_calls().await;
}

fn decide(
    answer: CallOutcome<OrderStatus>,
    order: &Order,
    schedule: &CheckSchedule,
    now: OffsetDateTime,
) -> NextAction {
    match answer {
        CallOutcome::Success(found) => match found.trade_state {
            TradeState::Success(payment) | TradeState::Refund(payment) => {
                NextAction::Record(Fact::Paid { payment, sign_type: order.sign_type })
            }
            TradeState::Closed | TradeState::Revoked => NextAction::Record(Fact::Closed),
            // A payment can follow each of these.
            TradeState::NotPay
            | TradeState::UserPaying
            | TradeState::Accept
            | TradeState::PayError
            | TradeState::Other(_) => decide_unpaid(order, true, schedule, now),
        },
        CallOutcome::Refused(refused) if refused.err_code == "ORDERNOTEXIST" => {
            decide_unpaid(order, false, schedule, now)
        }
        CallOutcome::Refused(refused) => NextAction::RecordInconclusive(refused),
        CallOutcome::Unknown(unknown) => NextAction::RecordUnknown(unknown),
    }
}

/// `exists`: whether WeChat knows the order. It does not while no unifiedorder has succeeded.
fn decide_unpaid(
    order: &Order,
    exists: bool,
    schedule: &CheckSchedule,
    now: OffsetDateTime,
) -> NextAction {
    match schedule::unpaid_action(order, schedule, now) {
        UnpaidAction::RepeatUnifiedorder => NextAction::RepeatUnifiedorder,
        UnpaidAction::RequestClose => NextAction::Record(Fact::CloseRequested),
        UnpaidAction::Close => NextAction::Close { exists },
        UnpaidAction::Wait => {
            NextAction::CheckAt(schedule::next_check(order, schedule, Jitter::draw(), now))
        }
    }
}

/// As late as an order whose calls have no outcome.
async fn postpone(service: &OrderService, order: &Order, holder: Uuid) -> Result<(), StoreError> {
    tracing::warn!("the merchant is not configured any more; add it, or the order stays open");
    let at = schedule::retry_after_unknown(
        schedule::UNKNOWN_OUTCOMES_MAX,
        &service.schedule,
        Jitter::draw(),
        clock::now(),
    );
    service.store.release_lease_and_reschedule(order, holder, Some(at)).await
}

async fn repeat_unifiedorder(
    service: &OrderService,
    leased: &LeasedOrder<'_>,
    parameters: &Fields,
) -> Result<(), StoreError> {
    // After a close or a payment during the query there must be no new prepay_id.
    if !service.store.renew_lease(leased.order, leased.holder).await? {
        return service.reschedule(leased, None).await;
    }
    service.call_unifiedorder(leased, parameters, None).await?;
    Ok(())
}

/// closeorder, right after the query that WeChat wants before it.
async fn close(
    service: &OrderService,
    leased: &LeasedOrder<'_>,
    exists: bool,
) -> Result<(), StoreError> {
    let order = leased.order;
    if !service.store.renew_lease(order, leased.holder).await? {
        return service.reschedule(leased, None).await;
    }
    let credentials = leased.merchant.credentials(order.sign_type);
    let outcome = match service.gateway.closeorder(&credentials, &close_of(order)).await {
        Ok(outcome) => outcome,
        Err(deferred) => return service.defer(leased, &deferred).await,
    };
    match outcome {
        CallOutcome::Success(()) => {}
        CallOutcome::Refused(refused) if refused.advice == Advice::AlreadyDone => {}
        // Neither the query nor the close finds it, and no other task creates it under our lease.
        CallOutcome::Refused(refused) if refused.err_code == "ORDERNOTEXIST" && !exists => {}
        // Paid between the query and the close: the next query brings the payment.
        CallOutcome::Refused(refused) if refused.err_code == "ORDERPAID" => {
            let now = Some(clock::now());
            return service.reschedule(leased, now).await;
        }
        CallOutcome::Refused(refused) => {
            return service.record_inconclusive(leased, &refused).await;
        }
        CallOutcome::Unknown(unknown) => return service.record_unknown(leased, &unknown).await,
    }
    service.record_fact(leased, Fact::Closed, Source::Reply).await?;
    Ok(())
}

fn query_of(order: &Order) -> OrderQuery {
    let request = &order.request;
    OrderQuery {
        appid: request.appid.clone(),
        out_trade_no: request.out_trade_no.clone(),
        sub_mch_id: request.sub_mch_id.clone(),
        sub_appid: request.sub_appid.clone(),
    }
}

fn close_of(order: &Order) -> CloseOrder {
    let request = &order.request;
    CloseOrder {
        appid: request.appid.clone(),
        out_trade_no: request.out_trade_no.clone(),
        sub_mch_id: request.sub_mch_id.clone(),
        sub_appid: request.sub_appid.clone(),
    }
}
