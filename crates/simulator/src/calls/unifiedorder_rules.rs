//! The rules for the fields of unifiedorder (`wechatpay-v2/PROTOCOL.md`, "unifiedorder"). Errors are WeChat's
//! texts.

use std::net::IpAddr;

use serde_json::Value;
use time::{Duration, OffsetDateTime};
use wechatpay_v2::unifiedorder::TradeType;
use wechatpay_v2::{BeijingTime, Fen, Fields};

use crate::calls::authenticate::{malformed, required};

/// The longest text in characters.
const CHARACTERS_MAX: [(&str, usize); 17] = [
    ("device_info", 32),
    ("detail", 6000),
    ("out_trade_no", 32),
    ("spbill_create_ip", 64),
    ("goods_tag", 32),
    ("notify_url", 256),
    ("product_id", 32),
    ("openid", 128),
    ("sub_openid", 128),
    ("sub_appid", 32),
    ("sub_mch_id", 32),
    ("receipt", 8),
    ("scene_info", 256),
    ("version", 32),
    ("user_type", 32),
    ("user_creid", 32),
    ("user_truename", 64),
];
/// The longest text in UTF-8 bytes: these two limits are reported to count bytes.
const BYTES_MAX: [(&str, usize); 2] = [("body", 127), ("attach", 127)];

/// Checks all fields and returns the amount.
pub(crate) fn check(fields: &Fields, now: OffsetDateTime) -> Result<Fen, String> {
    for (name, max) in CHARACTERS_MAX {
        check_field(fields, name, |text| text.chars().count() <= max)?;
    }
    for (name, max) in BYTES_MAX {
        check_field(fields, name, |text| text.len() <= max && !text.contains(char::is_control))?;
    }
    required(fields, "body")?;
    out_trade_no(fields)?;
    let total_fee = Fen::parse("total_fee", required(fields, "total_fee")?)
        .ok()
        .filter(|fen| fen.get() >= 1)
        .ok_or_else(|| malformed("total_fee"))?;
    check_field(fields, "fee_type", |text| text == "CNY")?;
    required(fields, "spbill_create_ip")?;
    check_field(fields, "spbill_create_ip", |text| text.parse::<IpAddr>().is_ok())?;
    required(fields, "notify_url")?;
    check_field(fields, "notify_url", is_notify_url)?;
    check_field(fields, "limit_pay", |text| text == "no_credit")?;
    check_field(fields, "profit_sharing", |text| matches!(text, "Y" | "N"))?;
    check_field(fields, "detail", is_json)?;
    check_field(fields, "scene_info", is_json)?;
    check_trade_type(fields)?;
    check_times(fields, now)?;
    Ok(total_fee)
}

/// Six to 32 of the characters that WeChat allows. The other two calls have the same rule.
pub(crate) fn out_trade_no(fields: &Fields) -> Result<&str, String> {
    let text = required(fields, "out_trade_no")?;
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_-|*@".contains(&b);
    if !(6..=32).contains(&text.len()) || !text.bytes().all(allowed) {
        return Err(malformed("out_trade_no"));
    }
    Ok(text)
}

/// Checks a field if it is present.
fn check_field(fields: &Fields, name: &str, holds: impl Fn(&str) -> bool) -> Result<(), String> {
    match fields.get(name) {
        Some(text) if !holds(text) => Err(malformed(name)),
        _ => Ok(()),
    }
}

/// Absolute, http or https, without a query.
fn is_notify_url(text: &str) -> bool {
    reqwest::Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.query().is_none()
            && url.fragment().is_none()
    })
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<Value>(text).is_ok_and(|value| value.is_object())
}

/// The fields that each trade type needs.
fn check_trade_type(fields: &Fields) -> Result<(), String> {
    let trade_type =
        TradeType::parse(required(fields, "trade_type")?).map_err(|_| malformed("trade_type"))?;
    let sub_openid = fields.get("sub_openid");
    if sub_openid.is_some() && fields.get("sub_appid").is_none() {
        return Err("缺少参数sub_appid".to_owned());
    }
    match trade_type {
        TradeType::Jsapi if fields.get("openid").or(sub_openid).is_none() => {
            Err("JSAPI支付必须传openid".to_owned())
        }
        TradeType::Native => required(fields, "product_id").map(drop),
        TradeType::Mweb => required(fields, "scene_info").map(drop),
        TradeType::Jsapi | TradeType::App => Ok(()),
    }
}

/// The expiry is at least five minutes ahead, by the simulator's clock, in Beijing time.
fn check_times(fields: &Fields, now: OffsetDateTime) -> Result<(), String> {
    let parse = |name: &'static str| {
        let text = fields.get(name);
        text.map(|text| BeijingTime::parse(name, text).map_err(|_| malformed(name))).transpose()
    };
    parse("time_start")?;
    match parse("time_expire")? {
        Some(expire) if expire.instant() < now + Duration::minutes(5) => {
            Err("time_expire时间过短，刷卡至少1分钟，其他5分钟".to_owned())
        }
        _ => Ok(()),
    }
}
