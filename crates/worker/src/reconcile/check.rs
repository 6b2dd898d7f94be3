//! One look at one order: query, and what follows from the answer.

use orders::{Fact, Order, OrderKey, Source};
use uuid::Uuid;
use wechatpay_v2::closeorder::CloseOrder;
use wechatpay_v2::orderquery::{OrderQuery, TradeState};
use wechatpay_v2::{Advice, AppId, Verdict};

use super::plan::{self, Act, Jitter};
use crate::clock;
use crate::hands::{Hands, Turn};
use crate::store::{StoreError, Stored};

/// What the query says of the order's existence at WeChat.
#[derive(Clone, Copy, PartialEq, Eq)]
enum There {
    /// WeChat has it.
    Known,
    /// No unifiedorder of this number has succeeded so far.
    NotKnown,
}

/// Looks at an order whose call lease `holder` has.
pub(super) async fn check(hands: &Hands, stored: &Stored, holder: Uuid) -> Result<(), StoreError> {
    let order = &stored.order;
    let key = order.key();
    let Some(merchant) = hands.merchants.get(&key.mch_id) else {
        tracing::warn!(%key, "its merchant is not configured any more");
        let later =
            plan::after_unknown(plan::UNKNOWN_MAX, &hands.patience, Jitter::draw(), clock::now());
        return hands.store.release_lease_and_reschedule(order, holder, Some(later)).await;
    };
    let turn = Turn { merchant: &merchant, order, holder, traceparent: None };
    let by = merchant.credentials(order.sign_type);
    let verdict = match hands.gateway.orderquery(&hands.store, &by, &query_of(order)).await {
        Ok(verdict) => verdict,
        Err(deferred) => return hands.put_off(&turn, &deferred).await,
    };
    match verdict {
        Verdict::Yes(found) => match found.trade_state {
            TradeState::Success(payment) | TradeState::Refund(payment) => {
                let fact = Fact::Paid { payment, sign_type: order.sign_type };
                hands.learn(&turn, fact, Source::Query).await?;
                Ok(())
            }
            TradeState::Closed | TradeState::Revoked => {
                hands.learn(&turn, Fact::Closed, Source::Query).await?;
                Ok(())
            }
            // None of these says that it will not be paid.
            TradeState::NotPay
            | TradeState::UserPaying
            | TradeState::Accept
            | TradeState::PayError
            | TradeState::Other(_) => not_paid(hands, &turn, stored, There::Known).await,
        },
        Verdict::No(no) if no.err_code == "ORDERNOTEXIST" => {
            not_paid(hands, &turn, stored, There::NotKnown).await
        }
        Verdict::No(no) => {
            hands.unknown(&turn, &format!("{}: {}", no.err_code, no.err_code_des), false).await
        }
        Verdict::Unknown(why) => hands.unclear(&turn, &why).await,
    }
}

/// Asks about a number that is no order of ours. Nothing can move; the answer is evidence, which is
/// missed when the merchant's guard does not let the call through.
pub(super) async fn ask(hands: &Hands, key: OrderKey, appid: AppId) {
    let Some(merchant) = hands.merchants.get(&key.mch_id) else { return };
    let query =
        OrderQuery { appid, out_trade_no: key.out_trade_no, sub_mch_id: None, sub_appid: None };
    let by = merchant.credentials(merchant.sign_type);
    let _ = hands.gateway.orderquery(&hands.store, &by, &query).await;
}

async fn not_paid(
    hands: &Hands,
    turn: &Turn<'_>,
    stored: &Stored,
    there: There,
) -> Result<(), StoreError> {
    let (order, now) = (turn.order, clock::now());
    match plan::act(order, &hands.patience, now) {
        Act::Replay => {
            // A close or a payment may have come during the query: no new prepay for those.
            if !hands.store.renew_lease(order, turn.holder).await? {
                return hands.store.release_lease_and_reschedule(order, turn.holder, None).await;
            }
            hands.enter(turn, &stored.parameters).await?;
            Ok(())
        }
        Act::RequestClose => {
            hands.learn(turn, Fact::CloseRequested, Source::Query).await?;
            Ok(())
        }
        Act::Close => close(hands, turn, there).await,
        Act::Wait => {
            let next = plan::next_look(order, &hands.patience, Jitter::draw(), now);
            hands.store.release_lease_and_reschedule(order, turn.holder, next).await
        }
    }
}

/// closeorder, right after the query that WeChat wants before it.
async fn close(hands: &Hands, turn: &Turn<'_>, there: There) -> Result<(), StoreError> {
    let order = turn.order;
    if !hands.store.renew_lease(order, turn.holder).await? {
        return hands.store.release_lease_and_reschedule(order, turn.holder, None).await;
    }
    let by = turn.merchant.credentials(order.sign_type);
    let verdict = match hands.gateway.closeorder(&hands.store, &by, &close_of(order)).await {
        Ok(verdict) => verdict,
        Err(deferred) => return hands.put_off(turn, &deferred).await,
    };
    match verdict {
        Verdict::Yes(()) => {}
        Verdict::No(no) if no.advice == Advice::Done => {}
        // Neither the query nor the close knows it, and the lease says that nobody is creating it.
        Verdict::No(no) if no.err_code == "ORDERNOTEXIST" && there == There::NotKnown => {}
        // Paid between the query and the close: the next query brings the payment.
        Verdict::No(no) if no.err_code == "ORDERPAID" => {
            let soon = Some(clock::now());
            return hands.store.release_lease_and_reschedule(order, turn.holder, soon).await;
        }
        Verdict::No(no) => {
            let message = format!("{}: {}", no.err_code, no.err_code_des);
            return hands.unknown(turn, &message, false).await;
        }
        Verdict::Unknown(why) => return hands.unclear(turn, &why).await,
    }
    hands.learn(turn, Fact::Closed, Source::Reply).await?;
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
