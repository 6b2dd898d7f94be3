//! Parses a call and verifies that it comes from a known merchant. A call that fails here is
//! answered `return_code=FAIL`, unsigned, with WeChat's text.

use std::sync::Arc;

use wechatpay_v2::{Fields, Limits, MchId, SignType, XmlError, parse_xml, sign};

use crate::config::{Merchant, Merchants};

/// A call whose merchant and signature are verified.
pub(crate) struct Request {
    pub(crate) merchant: Arc<Merchant>,
    pub(crate) fields: Fields,
    /// Signs the answer too.
    pub(crate) sign_type: SignType,
}

/// Parses the body. WeChat has a text of its own for methods other than POST.
pub(crate) fn parse_body(is_post: bool, body: &[u8]) -> Result<Fields, String> {
    if !is_post {
        return Err("请使用post方法".to_owned());
    }
    if body.is_empty() {
        return Err("post数据为空".to_owned());
    }
    parse_xml(body, Limits::MESSAGE).map_err(|error| {
        let text = match error {
            XmlError::NotUtf8 => "编码格式错误",
            _ => "XML格式错误",
        };
        text.to_owned()
    })
}

/// Finds the merchant and verifies the signature over all received fields. The algorithm is
/// `sign_type`, MD5 when that is absent; the signature is upper-case hex.
pub(crate) fn authenticate(fields: Fields, merchants: &Merchants) -> Result<Request, String> {
    let mch_id = MchId::parse(required(&fields, "mch_id")?).map_err(|_| malformed("mch_id"))?;
    let merchant = merchants.get(&mch_id).ok_or("商户号mch_id或sub_mch_id不存在")?;
    let sign_type = match fields.get("sign_type") {
        None => SignType::Md5,
        Some(name) => SignType::parse(name).map_err(|_| malformed("sign_type"))?,
    };
    if fields.get("sign") != Some(sign(&fields, &merchant.key, sign_type).as_str()) {
        return Err("签名错误".to_owned());
    }
    let appid = required(&fields, "appid")?;
    if !merchant.appids.iter().any(|own| own.as_str() == appid) {
        return Err("appid和mch_id不匹配".to_owned());
    }
    if required(&fields, "nonce_str")?.chars().count() > 32 {
        return Err(malformed("nonce_str"));
    }
    Ok(Request { merchant: Arc::clone(merchant), fields, sign_type })
}

/// The text of an element that must not be missing or empty.
pub(crate) fn required<'a>(fields: &'a Fields, name: &str) -> Result<&'a str, String> {
    fields.get(name).ok_or_else(|| format!("缺少参数{name}"))
}

/// WeChat's text for a field that breaks its rule.
pub(crate) fn malformed(name: &str) -> String {
    format!("{name}参数格式错误")
}
