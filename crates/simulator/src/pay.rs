//! "The customer pays now": what it does to the order, and what shall be told about it.

use std::time::Duration;

use time::OffsetDateTime;
use wechatpay_v2::{BeijingTime, Coupon, Fen, Fields, TransactionId};

use crate::notification::Notification;
use crate::notify::Delivery;
use crate::order::{Order, OrderKey, Payment};
use crate::pay_options::PayOptions;
use crate::state::State;
use crate::{ControlError, Merchant};

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paid {
    /// WeChat's number of the payment.
    pub transaction_id: TransactionId,
    /// When it was made.
    pub time_end: BeijingTime,
    /// The notification, byte for byte, when it was asked to be held.
    pub body: Option<Vec<u8>>,
}

const PAYMENTS_MAX: usize = 16;

/// Pays, and says what is to be delivered.
pub(crate) fn pay(
    state: &mut State,
    merchant: &Merchant,
    key: &OrderKey,
    options: &PayOptions,
    now: OffsetDateTime,
) -> Result<(Paid, Option<Delivery>), ControlError> {
    options.check()?;
    let payment = payment(state, key, options, now)?;
    let ordinary = *options == PayOptions::default();
    let drawn = ordinary.then(|| state.delivery(key)).flatten();
    if let Some(PayOptions { notify, concurrently, delay_ms, .. }) = &drawn {
        let out_trade_no = &key.out_trade_no;
        tracing::info!(out_trade_no, notify, concurrently, delay_ms, "notified by chance");
    }
    let options = drawn.as_ref().unwrap_or(options);
    let id = state.numbers.serial(now);
    let order = state.order(key);
    let appid = merchant.appids.first().map_or("", |appid| appid.as_str());
    let unknown = Fields::from_iter([("appid", appid), ("trade_type", "JSAPI")]);
    let first = order.map_or(&unknown, |order| &order.first);
    let sign_type = order.map_or(merchant.sign_type, |order| order.sign_type);
    let notification = Notification::compose(merchant, key, first, &payment, sign_type, options);
    let paid = Paid {
        transaction_id: payment.transaction_id.clone(),
        time_end: payment.time_end,
        body: options.hold.then(|| notification.write()),
    };
    let times = options.notify.unwrap_or(1);
    if options.hold || options.state_only || times == 0 {
        return Ok((paid, None));
    }
    let delivery = Delivery {
        key: key.clone(),
        id,
        transaction_id: payment.transaction_id,
        notify_url: notify_url(merchant, first, options)?,
        notification,
        times,
        concurrently: options.concurrently,
        delay: Duration::from_millis(options.delay_ms),
        fresh_nonce: options.fresh_nonce,
    };
    Ok((paid, Some(delivery)))
}

/// The payment that is made now, booked; or, for `notify_only`, the one that is told.
fn payment(
    state: &mut State,
    key: &OrderKey,
    options: &PayOptions,
    now: OffsetDateTime,
) -> Result<Payment, ControlError> {
    let fresh = state.numbers.transaction_id(now);
    let order = state.order(key);
    let told = order.and_then(|order| order.payments.first());
    if let Some(told) = told.filter(|_| options.is_repeat()) {
        return Ok(told.clone());
    }
    let one_fen = Fen::new(1).expect("one fen is an amount");
    let payment = Payment {
        transaction_id: options.transaction_id.clone().unwrap_or(fresh),
        time_end: BeijingTime::from_instant(now),
        total_fee: order.map_or(options.total_fee.unwrap_or(one_fen), |o| o.total_fee),
        coupons: options.coupons.clone(),
    };
    if !options.notify_only {
        may_be_paid(order, options, now)?;
        state.book(key, payment.clone());
    }
    Ok(payment)
}

/// The one asked for, the order's own, or the merchant's.
fn notify_url(
    merchant: &Merchant,
    first: &Fields,
    options: &PayOptions,
) -> Result<String, ControlError> {
    let given = options.notify_url.as_deref().or(first.get("notify_url"));
    match (given, &merchant.notify_base_url) {
        (Some(url), _) => Ok(url.to_owned()),
        (None, Some(base)) => {
            let base = base.trim_end_matches('/');
            Ok(format!("{base}/notify/{}/payment", merchant.mch_id))
        }
        (None, None) => Err(ControlError::Invalid("notify_url is needed")),
    }
}

fn may_be_paid(
    order: Option<&Order>,
    options: &PayOptions,
    now: OffsetDateTime,
) -> Result<(), ControlError> {
    let order = order.ok_or(ControlError::NotFound("no such order"))?;
    match (order.is_paid(), options.second_payment) {
        (true, false) => return Err(ControlError::Conflict("the order is paid")),
        (false, true) => return Err(ControlError::Conflict("the order is not paid yet")),
        _ => {}
    }
    if order.payments.len() >= PAYMENTS_MAX {
        return Err(ControlError::Conflict("the order has too many payments"));
    }
    if order.is_closed() && !options.force {
        return Err(ControlError::Conflict("the order is closed"));
    }
    if order.is_expired(now) && !options.force {
        return Err(ControlError::Conflict("the order has expired"));
    }
    Ok(())
}

/// Who paid. An order without an openid (a QR code, an app) has a payer too.
pub(crate) fn payer_elements(first: &Fields) -> Vec<(&'static str, String)> {
    let openid = first.get("openid").unwrap_or("oSimulatedPayer0000000000000");
    let mut elements = vec![
        ("openid", openid.to_owned()),
        ("is_subscribe", "N".to_owned()),
        ("trade_type", first.get("trade_type").unwrap_or("JSAPI").to_owned()),
    ];
    if let Some(sub_openid) = first.get("sub_openid") {
        elements.push(("sub_openid", sub_openid.to_owned()));
        elements.push(("sub_is_subscribe", "N".to_owned()));
    }
    elements
}

/// How it was paid: cash and coupons (reference 3.2, N5).
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
