//! `POST /pay/orderquery`, by `transaction_id` or by `out_trade_no`.

use wechatpay_v2::Fields;

use crate::calls::answer::Answer;
use crate::calls::authenticate::Request;
use crate::calls::unifiedorder_rules::out_trade_no;
use crate::message::Message;
use crate::order::{Order, OrderKey};
use crate::payment::{Payment, fee_elements, payer_elements};
use crate::state::State;

/// `fault_state` replaces the `trade_state` of an order that is not closed.
pub(crate) fn execute(state: &State, request: &Request, fault_state: Option<&str>) -> Answer {
    let transaction_id = request.fields.get("transaction_id");
    let key = match transaction_id {
        Some(transaction_id) => state.key_of(transaction_id).cloned(),
        None => match out_trade_no(&request.fields) {
            Ok(out_trade_no) => Some(OrderKey {
                mch_id: request.merchant.mch_id.clone(),
                out_trade_no: out_trade_no.to_owned(),
            }),
            Err(text) => return Answer::Communication(text),
        },
    };
    let found = key.and_then(|key| Some((state.order(&key)?, key)));
    match found {
        Some((order, key)) if is_visible(order, &key, request) => {
            Answer::Success(describe(order, &key, transaction_id, fault_state))
        }
        _ => Answer::refused("ORDERNOTEXIST", "order not exist"),
    }
}

/// For a caller, orders of other merchants and of other sub-merchants do not exist.
pub(crate) fn is_visible(order: &Order, key: &OrderKey, request: &Request) -> bool {
    request.merchant.mch_id == key.mch_id
        && request.fields.get("sub_mch_id") == order.parameters.get("sub_mch_id")
}

fn describe(
    order: &Order,
    key: &OrderKey,
    transaction_id: Option<&str>,
    fault_state: Option<&str>,
) -> Vec<(String, String)> {
    let fault_state = fault_state.filter(|_| !order.is_closed());
    let trade_state = fault_state.unwrap_or(&order.trade_state);
    let mut message = Message::default();
    let payment = transaction_id
        .and_then(|id| order.payments.iter().find(|p| p.transaction_id.as_str() == id))
        .or(order.payments.first());
    match (trade_state, payment) {
        ("SUCCESS" | "REFUND", Some(payment)) => {
            add_payment(&mut message, &order.parameters, payment);
        }
        // WeChat answers few elements for unpaid orders, and other empty ones for each state.
        ("CLOSED", _) => {
            message.set("attach", "");
            message.set("total_fee", order.total_fee);
        }
        ("USERPAYING", _) => message.echo(&order.parameters, &["attach"]),
        ("ACCEPT", _) => message.set("total_fee", order.total_fee),
        _ => {
            message.set("device_info", "");
            message.set("total_fee", order.total_fee);
        }
    }
    message.set("out_trade_no", &key.out_trade_no);
    message.set("trade_state", trade_state);
    message.set("trade_state_desc", description(trade_state));
    message.into_elements()
}

fn add_payment(message: &mut Message, parameters: &Fields, payment: &Payment) {
    message.set("device_info", parameters.get("device_info").unwrap_or_default());
    message.extend(payer_elements(parameters));
    message.set("bank_type", "OTHERS");
    message.set("total_fee", payment.total_fee);
    message.set("fee_type", "CNY");
    message.set("cash_fee_type", "CNY");
    message.extend(fee_elements(&payment.coupons, payment.total_fee));
    message.set("transaction_id", &payment.transaction_id);
    message.set("attach", parameters.get("attach").unwrap_or_default());
    message.set("time_end", payment.time_end);
}

fn description(trade_state: &str) -> &'static str {
    match trade_state {
        "SUCCESS" => "支付成功",
        "REFUND" => "订单发生过退款，退款详情请查询退款单",
        "NOTPAY" => "订单未支付",
        "CLOSED" => "订单已关闭",
        "REVOKED" => "订单已撤销",
        "USERPAYING" => "需要用户输入支付密码",
        "ACCEPT" => "已接收，等待扣款",
        "PAYERROR" => "支付失败，请重新下单支付",
        _ => "未知状态",
    }
}
