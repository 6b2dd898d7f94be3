//! `POST /pay/closeorder`: the order accepts no payment from now on.

use std::time::Duration;

use time::OffsetDateTime;

use crate::calls::answer::Answer;
use crate::calls::authenticate::Request;
use crate::calls::orderquery::is_visible;
use crate::calls::unifiedorder_rules::out_trade_no;
use crate::order::OrderKey;
use crate::state::State;

pub(crate) fn execute(
    state: &mut State,
    request: &Request,
    age_min: Duration,
    now: OffsetDateTime,
) -> Answer {
    let key = match out_trade_no(&request.fields) {
        Ok(out_trade_no) => OrderKey {
            mch_id: request.merchant.mch_id.clone(),
            out_trade_no: out_trade_no.to_owned(),
        },
        Err(text) => return Answer::Communication(text),
    };
    let order = state.order_mut(&key);
    let Some(order) = order.filter(|order| is_visible(order, &key, request)) else {
        return Answer::refused("ORDERNOTEXIST", "order not exist");
    };
    if order.is_paid() {
        return Answer::refused("ORDERPAID", "order paid");
    }
    if order.is_closed() {
        return Answer::refused("ORDERCLOSED", "order closed");
    }
    if now < order.created_at + age_min {
        return Answer::refused("TRADE_STATE_ERROR", "订单创建时间过短，暂不能关单");
    }
    "CLOSED".clone_into(&mut order.trade_state);
    order.closed_at = Some(now);
    Answer::Success(vec![("result_msg".to_owned(), "OK".to_owned())])
}
