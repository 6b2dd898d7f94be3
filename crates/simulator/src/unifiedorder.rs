//! `POST /pay/unifiedorder` (reference 2.2): creates an order, or re-enters it with the very same
//! parameters.

use std::collections::VecDeque;

use time::OffsetDateTime;
use wechatpay_v2::{Fields, Nonce};

use crate::answer::Answer;
use crate::door::Request;
use crate::order::{Order, OrderKey};
use crate::state::State;
use crate::unifiedorder_rules;

pub(crate) fn decide(state: &mut State, request: &Request, now: OffsetDateTime) -> Answer {
    let fields = &request.fields;
    let total_fee = match unifiedorder_rules::check(fields, now) {
        Ok(total_fee) => total_fee,
        Err(text) => return Answer::Communication(text),
    };
    let key = OrderKey {
        mch_id: request.merchant.mch_id.clone(),
        out_trade_no: fields.get("out_trade_no").unwrap_or_default().to_owned(),
    };
    let prepay_id = state.numbers.prepay_id(now);
    let business = business(fields);
    match state.order_mut(&key) {
        Some(order) if order.is_paid() => return Answer::refused("ORDERPAID", "该订单已支付"),
        Some(order) if order.is_closed() => return Answer::refused("ORDERCLOSED", "该订单已关闭"),
        Some(order) if order.first != business || order.sign_type != request.sign_type => {
            return Answer::refused("INVALID_REQUEST", "201 商户订单号重复");
        }
        Some(order) => order.issue(prepay_id.clone()),
        None => {
            let mut order = Order {
                first: business,
                sign_type: request.sign_type,
                total_fee,
                trade_state: "NOTPAY".to_owned(),
                payments: Vec::new(),
                prepay_ids: VecDeque::new(),
                issued_count: 0,
                created_at: now,
                closed_at: None,
            };
            order.issue(prepay_id.clone());
            state.insert(key, order);
        }
    }
    Answer::Success(issued(fields.get("trade_type").unwrap_or_default(), prepay_id))
}

/// What a repetition must equal: everything but the nonce and the signature. Empty and absent are
/// the same on this wire, and so are an absent `sign_type` and `MD5`, which is compared apart.
fn business(fields: &Fields) -> Fields {
    fields
        .iter()
        .filter(|(name, text)| {
            !text.is_empty() && !matches!(*name, "nonce_str" | "sign" | "sign_type")
        })
        .collect()
}

fn issued(trade_type: &str, prepay_id: String) -> Vec<(String, String)> {
    let mut elements = vec![("trade_type".to_owned(), trade_type.to_owned())];
    match trade_type {
        "NATIVE" => {
            let nonce = Nonce::generate();
            let code_url = format!("weixin://wxpay/bizpayurl?pr={}", &nonce.as_str()[..9]);
            elements.push(("code_url".to_owned(), code_url));
        }
        "MWEB" => {
            let page = "https://wx.tenpay.com/cgi-bin/mmpayweb-bin/checkmweb";
            let mweb_url = format!("{page}?prepay_id={prepay_id}&package=1234567890");
            elements.push(("mweb_url".to_owned(), mweb_url));
        }
        _ => {}
    }
    elements.insert(0, ("prepay_id".to_owned(), prepay_id));
    elements
}
