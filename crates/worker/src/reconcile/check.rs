//! One look at one order: query, and what follows from the answer.

use orders::{Fact, Order, OrderKey, Source};
use uuid::Uuid;
use wechatpay_v2::closeorder::CloseOrder;
use wechatpay_v2::orderquery::{OrderQuery, TradeState};
use wechatpay_v2::{Advice, AppId, Verdict};

use crate::clock;
use crate::order_service::{LeasedOrder, OrderService};
use crate::schedule::{self, Jitter, NextAction};
use crate::store::{StoreError, StoredOrder};

/// What the query says of the order's existence at WeChat.
#[derive(Clone, Copy, PartialEq, Eq)]
enum There {
    /// WeChat has it.
    Known,
    /// No unifiedorder of this number has succeeded so far.
    NotKnown,
}

/// Looks at an order whose call lease `holder` has.
pub(super) async fn check(
    service: &OrderService,
    stored: &StoredOrder,
    holder: Uuid,
) -> Result<(), StoreError> {
    let order = &stored.order;
    let key = order.key();
    let Some(merchant) = service.merchants.get(&key.mch_id) else {
        tracing::warn!(%key, "its merchant is not configured any more");
        let later = schedule::retry_after_unknown(
            schedule::UNKNOWN_OUTCOMES_MAX,
            &service.schedule,
            Jitter::draw(),
            clock::now(),
        );
        return service.store.release_lease_and_reschedule(order, holder, Some(later)).await;
    };
    let leased = LeasedOrder { merchant: &merchant, order, holder, traceparent: None };
    let by = merchant.credentials(order.sign_type);
    let verdict = match service.gateway.orderquery(&service.store, &by, &query_of(order)).await {
        Ok(verdict) => verdict,
        Err(deferred) => return service.defer(&leased, &deferred).await,
    };
    match verdict {
        Verdict::Yes(found) => match found.trade_state {
            TradeState::Success(payment) | TradeState::Refund(payment) => {
                let fact = Fact::Paid { payment, sign_type: order.sign_type };
                service.record_fact(&leased, fact, Source::Query).await?;
                Ok(())
            }
            TradeState::Closed | TradeState::Revoked => {
                service.record_fact(&leased, Fact::Closed, Source::Query).await?;
                Ok(())
            }
            // None of these says that it will not be paid.
            TradeState::NotPay
            | TradeState::UserPaying
            | TradeState::Accept
            | TradeState::PayError
            | TradeState::Other(_) => not_paid(service, &leased, stored, There::Known).await,
        },
        Verdict::No(no) if no.err_code == "ORDERNOTEXIST" => {
            not_paid(service, &leased, stored, There::NotKnown).await
        }
        Verdict::No(no) => {
            service
                .record_unknown_message(
                    &leased,
                    &format!("{}: {}", no.err_code, no.err_code_des),
                    false,
                )
                .await
        }
        Verdict::Unknown(why) => service.record_unknown(&leased, &why).await,
    }
}

/// Asks about a number that is no order of ours. Nothing can move; the answer is evidence, which is
/// missed when the merchant's guard does not let the call through.
pub(super) async fn query_only(service: &OrderService, key: OrderKey, appid: AppId) {
    let Some(merchant) = service.merchants.get(&key.mch_id) else { return };
    let query =
        OrderQuery { appid, out_trade_no: key.out_trade_no, sub_mch_id: None, sub_appid: None };
    let by = merchant.credentials(merchant.sign_type);
    let _ = service.gateway.orderquery(&service.store, &by, &query).await;
}

async fn not_paid(
    service: &OrderService,
    leased: &LeasedOrder<'_>,
    stored: &StoredOrder,
    there: There,
) -> Result<(), StoreError> {
    let (order, now) = (leased.order, clock::now());
    match schedule::next_action(order, &service.schedule, now) {
        NextAction::Replay => {
            // A close or a payment may have come during the query: no new prepay for those.
            if !service.store.renew_lease(order, leased.holder).await? {
                return service
                    .store
                    .release_lease_and_reschedule(order, leased.holder, None)
                    .await;
            }
            service.call_unifiedorder(leased, &stored.parameters).await?;
            Ok(())
        }
        NextAction::RequestClose => {
            service.record_fact(leased, Fact::CloseRequested, Source::Query).await?;
            Ok(())
        }
        NextAction::Close => close(service, leased, there).await,
        NextAction::Wait => {
            let next = schedule::next_check(order, &service.schedule, Jitter::draw(), now);
            service.store.release_lease_and_reschedule(order, leased.holder, next).await
        }
    }
}

/// closeorder, right after the query that WeChat wants before it.
async fn close(
    service: &OrderService,
    leased: &LeasedOrder<'_>,
    there: There,
) -> Result<(), StoreError> {
    let order = leased.order;
    if !service.store.renew_lease(order, leased.holder).await? {
        return service.store.release_lease_and_reschedule(order, leased.holder, None).await;
    }
    let by = leased.merchant.credentials(order.sign_type);
    let verdict = match service.gateway.closeorder(&service.store, &by, &close_of(order)).await {
        Ok(verdict) => verdict,
        Err(deferred) => return service.defer(leased, &deferred).await,
    };
    match verdict {
        Verdict::Yes(()) => {}
        Verdict::No(no) if no.advice == Advice::Done => {}
        // Neither the query nor the close knows it, and the lease says that nobody is creating it.
        Verdict::No(no) if no.err_code == "ORDERNOTEXIST" && there == There::NotKnown => {}
        // Paid between the query and the close: the next query brings the payment.
        Verdict::No(no) if no.err_code == "ORDERPAID" => {
            let soon = Some(clock::now());
            return service.store.release_lease_and_reschedule(order, leased.holder, soon).await;
        }
        Verdict::No(no) => {
            let message = format!("{}: {}", no.err_code, no.err_code_des);
            return service.record_unknown_message(leased, &message, false).await;
        }
        Verdict::Unknown(why) => return service.record_unknown(leased, &why).await,
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
