//! What is sent.

use serde_json::{Value, json};

pub(crate) const MCH_ID: &str = "1900000109";
pub(crate) const OUT_TRADE_NO: &str = "SO20260721000001";
pub(crate) const OPENID: &str = "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o";

pub(crate) const NOTIFICATION: &str = "<xml><appid><![CDATA[wx2421b1c4370ec43b]]></appid>\
    <openid><![CDATA[oUpF8uMuAJO_M2pxb1Q9zNjWeS6o]]></openid>\
    <sign><![CDATA[B552ED6B279343CB493C5DD0D78AB241]]></sign></xml>";

pub(crate) fn order() -> Value {
    json!({
        "mch_id": MCH_ID,
        "appid": "wx2421b1c4370ec43b",
        "out_trade_no": OUT_TRADE_NO,
        "body": "两杯咖啡",
        "total_fee": 101,
        "spbill_create_ip": "203.0.113.7",
        "openid": OPENID,
    })
}

/// An order with one field changed; `null` takes it out.
pub(crate) fn order_with(field: &str, value: Value) -> Value {
    let mut order = order();
    let fields = order.as_object_mut().expect("an object");
    match value {
        Value::Null => fields.remove(field),
        value => fields.insert(field.to_owned(), value),
    };
    order
}

pub(crate) fn order_path() -> String {
    format!("/v1/orders/{MCH_ID}/{OUT_TRADE_NO}")
}

pub(crate) fn notify_path() -> String {
    format!("/notify/{MCH_ID}/payment")
}
