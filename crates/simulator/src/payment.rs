//! A payment, and the elements that orderquery and notifications have in common.

use wechatpay_v2::{BeijingTime, Coupon, Fen, Fields, TransactionId};

/// One payment of an order.
#[derive(Clone)]
pub(crate) struct Payment {
    pub(crate) transaction_id: TransactionId,
    pub(crate) time_end: BeijingTime,
    pub(crate) total_fee: Fen,
    pub(crate) coupons: Vec<Coupon>,
}

/// The payer of an order with these parameters. An order without an openid (paid by QR code or in
/// an app) has a payer too.
pub(crate) fn payer_elements(parameters: &Fields) -> Vec<(&'static str, String)> {
    let openid = parameters.get("openid").unwrap_or("oSimulatedPayer0000000000000");
    let mut elements = vec![
        ("openid", openid.to_owned()),
        ("is_subscribe", "N".to_owned()),
        ("trade_type", parameters.get("trade_type").unwrap_or("JSAPI").to_owned()),
    ];
    if let Some(sub_openid) = parameters.get("sub_openid") {
        elements.push(("sub_openid", sub_openid.to_owned()));
        elements.push(("sub_is_subscribe", "N".to_owned()));
    }
    elements
}

/// How the amount divides into cash and coupons.
pub(crate) fn fee_elements(coupons: &[Coupon], total_fee: Fen) -> Vec<(String, String)> {
    let sum = |kept: fn(&&Coupon) -> bool| -> i64 {
        let fees = coupons.iter().filter(kept).map(|coupon| coupon.coupon_fee.get());
        fees.fold(0, i64::saturating_add)
    };
    let coupon_fee = sum(|_| true);
    let no_cash = sum(|coupon| coupon.coupon_type.as_deref() == Some("NO_CASH"));
    let mut elements = Vec::new();
    let mut add = |name: String, text: String| elements.push((name, text));
    add("cash_fee".to_owned(), (total_fee.get() - coupon_fee).max(0).to_string());
    if !coupons.is_empty() {
        add("coupon_fee".to_owned(), coupon_fee.to_string());
        add("coupon_count".to_owned(), coupons.len().to_string());
    }
    for (n, coupon) in coupons.iter().enumerate() {
        if let Some(coupon_type) = &coupon.coupon_type {
            add(format!("coupon_type_{n}"), coupon_type.clone());
        }
        add(format!("coupon_id_{n}"), coupon.coupon_id.clone());
        add(format!("coupon_fee_{n}"), coupon.coupon_fee.to_string());
    }
    if no_cash > 0 {
        let settled = (total_fee.get() - no_cash).max(0);
        add("settlement_total_fee".to_owned(), settled.to_string());
    }
    elements
}
