//! A customer pays: what that does to the order, and which notification follows.

use std::time::Duration;

use time::OffsetDateTime;
use wechatpay_v2::{BeijingTime, Fen, Fields, TransactionId};

use crate::config::Merchant;
use crate::error::ControlError;
use crate::notifications::compose::Notification;
use crate::notifications::schedule::Delivery;
use crate::order::{Order, OrderKey};
use crate::pay_options::PayOptions;
use crate::payment::Payment;
use crate::state::State;

/// A payment that was made, or that a notification claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paid {
    pub transaction_id: TransactionId,
    pub time_end: BeijingTime,
    /// The bytes of the notification, if [`PayOptions::hold`] keeps it from being sent.
    pub body: Option<Vec<u8>>,
}

const PAYMENTS_MAX: usize = 16;

/// Makes the payment and returns the notification to deliver.
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
    let fault = if ordinary { state.take_notification_fault(key) } else { None };
    if let Some(PayOptions { notify, concurrently, delay_ms, .. }) = &fault {
        let out_trade_no = &key.out_trade_no;
        tracing::info!(out_trade_no, notify, concurrently, delay_ms, "seeded notification fault");
    }
    let options = fault.as_ref().unwrap_or(options);
    let id = state.ids.serial(now);
    let order = state.order(key);
    let appid = merchant.appids.first().map_or("", |appid| appid.as_str());
    let unknown = Fields::from_iter([("appid", appid), ("trade_type", "JSAPI")]);
    let parameters = order.map_or(&unknown, |order| &order.parameters);
    let sign_type = order.map_or(merchant.sign_type, |order| order.sign_type);
    let notification =
        Notification::compose(merchant, key, parameters, &payment, sign_type, options);
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
        notify_url: notify_url(merchant, parameters, options)?,
        notification,
        times,
        concurrently: options.concurrently,
        delay: Duration::from_millis(options.delay_ms),
        fresh_nonce: options.fresh_nonce,
    };
    Ok((paid, Some(delivery)))
}

/// Makes the payment; with `notify_only`, finds or invents the one to notify about.
fn payment(
    state: &mut State,
    key: &OrderKey,
    options: &PayOptions,
    now: OffsetDateTime,
) -> Result<Payment, ControlError> {
    let fresh = state.ids.transaction_id(now);
    let order = state.order(key);
    let existing = order.and_then(|order| order.payments.first());
    if let Some(existing) = existing.filter(|_| options.is_repeat()) {
        return Ok(existing.clone());
    }
    let one_fen = Fen::new(1).expect("one fen is an amount");
    let payment = Payment {
        transaction_id: options.transaction_id.clone().unwrap_or(fresh),
        time_end: BeijingTime::from_instant(now),
        total_fee: order.map_or(options.total_fee.unwrap_or(one_fen), |o| o.total_fee),
        coupons: options.coupons.clone(),
    };
    if !options.notify_only {
        check_payable(order, options, now)?;
        state.add_payment(key, payment.clone());
    }
    Ok(payment)
}

/// The option's URL, else the order's own, else the merchant's.
fn notify_url(
    merchant: &Merchant,
    parameters: &Fields,
    options: &PayOptions,
) -> Result<String, ControlError> {
    let given = options.notify_url.as_deref().or(parameters.get("notify_url"));
    match (given, &merchant.notify_base_url) {
        (Some(url), _) => Ok(url.to_owned()),
        (None, Some(base)) => {
            let base = base.trim_end_matches('/');
            Ok(format!("{base}/notify/{}/payment", merchant.mch_id))
        }
        (None, None) => Err(ControlError::Invalid("notify_url is needed")),
    }
}

fn check_payable(
    order: Option<&Order>,
    options: &PayOptions,
    now: OffsetDateTime,
) -> Result<(), ControlError> {
    let order = order.ok_or(ControlError::NotFound("no such order"))?;
    if order.is_paid() && !options.second_payment {
        return Err(ControlError::Conflict("the order is paid"));
    }
    if !order.is_paid() && options.second_payment {
        return Err(ControlError::Conflict("the order is not paid yet"));
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
