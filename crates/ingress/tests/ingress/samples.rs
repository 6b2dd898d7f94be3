//! Orders and notifications that the tests send.

use orders::testing;
use serde_json::{Value, json};

pub(crate) const MCH_ID: &str = "1900000109";
pub(crate) const OUT_TRADE_NO: &str = "SO20260721000001";
pub(crate) const OPENID: &str = "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o";

pub(crate) const NOTIFICATION: &str = "<xml><appid><![CDATA[wx2421b1c4370ec43b]]></appid>\
    <openid><![CDATA[oUpF8uMuAJO_M2pxb1Q9zNjWeS6o]]></openid>\
    <sign><![CDATA[B552ED6B279343CB493C5DD0D78AB241]]></sign></xml>";

pub(crate) fn order() -> Value {
    let mut order = testing::sample();
    order["mch_id"] = json!(MCH_ID);
    order["out_trade_no"] = json!(OUT_TRADE_NO);
    order["openid"] = json!(OPENID);
    order
}

/// An order with one field changed, or removed when `value` is null.
pub(crate) fn order_with(field: &str, value: Value) -> Value {
    testing::with(order(), field, value)
}

pub(crate) fn order_path() -> String {
    format!("/v1/orders/{MCH_ID}/{OUT_TRADE_NO}")
}

pub(crate) fn notify_path() -> String {
    format!("/notify/{MCH_ID}/payment")
}
