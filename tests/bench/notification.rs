use harness::TestMerchant;
use time::OffsetDateTime;
use wechatpay_v2::{ApiKey, BeijingTime, FieldError, Fields, SignType, sign, write_xml};

use crate::http::post;

/// WeChat's notification that this order was paid in full just now.
pub(crate) fn body(
    merchant: &TestMerchant,
    out_trade_no: &str,
    transaction_id: &str,
) -> Result<String, FieldError> {
    let key = ApiKey::parse(&merchant.key)?;
    let time_end = BeijingTime::from_instant(OffsetDateTime::now_utc()).to_string();
    let nonce = format!("{:032x}", fastrand::u128(..));
    let mut fields = Fields::from_iter([
        ("appid", merchant.appid.as_str()),
        ("attach", "支付测试"),
        ("bank_type", "CFT"),
        ("cash_fee", "9900"),
        ("fee_type", "CNY"),
        ("is_subscribe", "Y"),
        ("mch_id", &merchant.mch_id),
        ("nonce_str", &nonce),
        ("openid", &merchant.openid),
        ("out_trade_no", out_trade_no),
        ("result_code", "SUCCESS"),
        ("return_code", "SUCCESS"),
        ("time_end", &time_end),
        ("total_fee", "9900"),
        ("trade_type", "JSAPI"),
        ("transaction_id", transaction_id),
    ]);
    let signature = sign(&fields, &key, SignType::Md5);
    fields.insert("sign", signature);
    Ok(write_xml(&fields))
}

/// The request with which WeChat delivers it.
pub(crate) fn request(merchant: &TestMerchant, body: &str) -> Vec<u8> {
    post(&format!("/notify/{}/payment", merchant.mch_id), "content-type: text/xml\r\n", body)
}

/// The number of an order in a row of loaded ones.
pub(crate) fn out_trade_no(prefix: &str, n: usize) -> String {
    format!("{prefix}{n:08}")
}

/// The transaction that pays the order with this number in a row.
pub(crate) fn transaction_id(n: usize) -> String {
    format!("43{n:026}")
}
