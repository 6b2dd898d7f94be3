//! `POST /pay/unifiedorder`: creates an order. The same parameters again get another `prepay_id`
//! for the same order.

use std::collections::VecDeque;

use time::OffsetDateTime;
use wechatpay_v2::{Fields, Nonce};

use crate::calls::answer::Answer;
use crate::calls::authenticate::Request;
use crate::calls::unifiedorder_rules;
use crate::order::{Order, OrderKey};
use crate::state::State;

pub(crate) fn execute(state: &mut State, request: &Request, now: OffsetDateTime) -> Answer {
    let fields = &request.fields;
    let total_fee = match unifiedorder_rules::check(fields, now) {
        Ok(total_fee) => total_fee,
        Err(text) => return Answer::Communication(text),
    };
    let key = OrderKey {
        mch_id: request.merchant.mch_id.clone(),
        out_trade_no: fields.get("out_trade_no").unwrap_or_default().to_owned(),
    };
    let prepay_id = state.ids.prepay_id(now);
    let parameters = business_parameters(fields);
    match state.order_mut(&key) {
        Some(order) if order.is_paid() => return Answer::refused("ORDERPAID", "该订单已支付"),
        Some(order) if order.is_closed() => return Answer::refused("ORDERCLOSED", "该订单已关闭"),
        Some(order) if order.parameters != parameters || order.sign_type != request.sign_type => {
            return Answer::refused("INVALID_REQUEST", "201 商户订单号重复");
        }
        Some(order) => order.add_prepay_id(prepay_id.clone()),
        None => {
            let mut order = Order {
                parameters,
                sign_type: request.sign_type,
                total_fee,
                trade_state: "NOTPAY".to_owned(),
                payments: Vec::new(),
                prepay_ids: VecDeque::new(),
                issued_count: 0,
                created_at: now,
                closed_at: None,
            };
            order.add_prepay_id(prepay_id.clone());
            state.insert(key, order);
        }
    }
    Answer::Success(success_elements(fields.get("trade_type").unwrap_or_default(), prepay_id))
}

/// What a repetition must equal: everything but the nonce and the signature. WeChat treats an empty
/// element as absent, and an absent `sign_type` as `MD5`, so `sign_type` is compared on its own.
fn business_parameters(fields: &Fields) -> Fields {
    fields
        .iter()
        .filter(|(name, text)| {
            !text.is_empty() && !matches!(*name, "nonce_str" | "sign" | "sign_type")
        })
        .collect()
}

fn success_elements(trade_type: &str, prepay_id: String) -> Vec<(String, String)> {
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
