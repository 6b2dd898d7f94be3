//! The orders that a shop of the tests creates.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::TestMerchant;

#[derive(Clone, Debug)]
pub struct Shop {
    pub mch_id: String,
    pub appid: String,
    pub openid: String,
}

impl Shop {
    pub fn of(merchant: &TestMerchant) -> Self {
        Self {
            mch_id: merchant.mch_id.clone(),
            appid: merchant.appid.clone(),
            openid: merchant.openid.clone(),
        }
    }

    /// A new order number.
    pub fn number() -> String {
        Uuid::new_v4().simple().to_string()
    }

    pub fn order(&self, out_trade_no: &str, total_fee: i64) -> Value {
        let mut order = orders::testing::sample();
        order["mch_id"] = json!(self.mch_id);
        order["appid"] = json!(self.appid);
        order["out_trade_no"] = json!(out_trade_no);
        order["total_fee"] = json!(total_fee);
        order["openid"] = json!(self.openid);
        order
    }

    /// An order of this trade type, with the fields that it needs.
    pub fn order_of_type(&self, out_trade_no: &str, trade_type: &str) -> Value {
        let mut order = self.order(out_trade_no, 9900);
        order["trade_type"] = json!(trade_type);
        if trade_type != "JSAPI" {
            order.as_object_mut().unwrap().remove("openid");
        }
        if trade_type == "NATIVE" {
            order["product_id"] = json!("SKU-1001");
        }
        if trade_type == "MWEB" {
            let scene =
                r#"{"h5_info":{"type":"Wap","wap_url":"https://shop.example","wap_name":"shop"}}"#;
            order["scene_info"] = json!(scene);
        }
        order
    }
}
