//! The sample order of the workspace's tests: its JSON, the order in every state, and a payment that
//! matches it. Behind the feature `testing`, which only tests enable.

#![allow(clippy::unwrap_used, reason = "a sample that does not parse fails the test")]

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::macros::datetime;
use wechatpay_v2::unifiedorder::Prepay;
use wechatpay_v2::{BeijingTime, Fen, OpenId, Payment, PrepayId, SignType, TransactionId};

use crate::{ApplyContext, Fact, Failure, Order, OrderRequest, Source, State, StateName};

pub const MCH_ID: &str = "1699000001";
pub const APPID: &str = "wx5f0c2e7a91d34b68";
pub const OUT_TRADE_NO: &str = "SO20260721A0001";
pub const OPENID: &str = "oDemoUser0000000000000000001";
pub const PREPAY: &str = "wx21183000118842f0c7d9a1b2c3d4e50000";
pub const TRANSACTION: &str = "4200009876202607211234567890";
pub const ACCEPTED_AT: OffsetDateTime = datetime!(2026-07-21 10:30:00.25 UTC);
/// When an order reached its state, unless it is `created`.
pub const REACHED_AT: OffsetDateTime = datetime!(2026-07-21 10:31:00.5 UTC);
/// When facts are applied to the sample order.
pub const NOW: OffsetDateTime = datetime!(2026-07-21 10:40:00.75 UTC);
pub const EXPIRE: OffsetDateTime = datetime!(2026-07-21 12:30:00 UTC);

/// The smallest order that a shop can send, as JSON.
pub fn sample() -> Value {
    json!({
        "mch_id": MCH_ID,
        "appid": APPID,
        "out_trade_no": OUT_TRADE_NO,
        "body": "极光小店-鲜花&绿植",
        "total_fee": 9900,
        "spbill_create_ip": "203.0.113.24",
        "openid": OPENID,
    })
}

/// The same order, for a sub-merchant.
pub fn sample_with_sub_merchant() -> Value {
    let mut order = sample();
    order["sub_mch_id"] = json!("1699000002");
    order["sub_appid"] = json!("wx00000000000000aa");
    order
}

/// `order` with one field set, or removed when `value` is null.
pub fn with(mut order: Value, field: &str, value: Value) -> Value {
    let fields = order.as_object_mut().unwrap();
    match value {
        Value::Null => fields.remove(field),
        value => fields.insert(field.to_owned(), value),
    };
    order
}

pub fn request(order: &Value) -> OrderRequest {
    OrderRequest::parse(order.to_string().as_bytes()).unwrap()
}

pub fn accepted(order: &Value) -> Order {
    Order::accept(request(order), EXPIRE, SignType::HmacSha256, ACCEPTED_AT).0
}

/// The order in a state. `seq` and `gateway_message` are set, so that a change of them shows.
pub fn order_in(state: StateName, order: &Value) -> Order {
    let accepted = accepted(order);
    let state = match state {
        StateName::Created => State::Created,
        StateName::Payable => State::Payable { prepay: prepay(PREPAY), issued_at: REACHED_AT },
        StateName::Paid => State::Paid(Box::new(payment(&accepted))),
        StateName::Closing => State::Closing { since: REACHED_AT },
        StateName::Closed => State::Closed { at: REACHED_AT },
        StateName::Failed => State::Failed(failure()),
    };
    Order {
        state,
        seq: 2,
        gateway_message: Some("系统超时".to_owned()),
        updated_at: REACHED_AT,
        ..accepted
    }
}

pub fn prepay(prepay_id: &str) -> Prepay {
    Prepay { prepay_id: PrepayId::parse(prepay_id).unwrap(), code_url: None, mweb_url: None }
}

pub fn failure() -> Failure {
    Failure { err_code: "NOAUTH".to_owned(), err_code_des: "商户无此接口权限".to_owned() }
}

/// A payment that matches the order in every field. It ended before [`REACHED_AT`].
pub fn payment(order: &Order) -> Payment {
    let request = &order.request;
    Payment {
        transaction_id: transaction(TRANSACTION),
        out_trade_no: request.out_trade_no.clone(),
        mch_id: request.mch_id.clone(),
        appid: request.appid.clone(),
        sub_mch_id: request.sub_mch_id.clone(),
        sub_appid: request.sub_appid.clone(),
        total_fee: request.total_fee,
        fee_type: "CNY".to_owned(),
        cash_fee: Some(request.total_fee),
        settlement_total_fee: None,
        coupon_fee: None,
        coupons: Vec::new(),
        openid: Some(OpenId::parse(OPENID).unwrap()),
        sub_openid: None,
        trade_type: Some("JSAPI".to_owned()),
        bank_type: Some("CMB_DEBIT".to_owned()),
        attach: None,
        time_end: time_end(datetime!(2026-07-21 10:30:30 UTC)),
    }
}

pub fn transaction(id: &str) -> TransactionId {
    TransactionId::parse(id).unwrap()
}

pub fn time_end(instant: OffsetDateTime) -> BeijingTime {
    BeijingTime::from_instant(instant)
}

pub fn fen(fen: i64) -> Fen {
    Fen::new(fen).unwrap()
}

pub fn paid(payment: Payment) -> Fact {
    Fact::Paid { payment: Box::new(payment), sign_type: SignType::HmacSha256 }
}

pub fn context(at: OffsetDateTime) -> ApplyContext {
    ApplyContext { at, source: Source::Notify, booked_on: None }
}
