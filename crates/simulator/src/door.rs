//! The door of every call: parsed, from a merchant that we know, signed by it. Whatever fails here
//! is answered `return_code=FAIL`, unsigned, with WeChat's text (reference 0.3, 2.2).

use std::collections::BTreeMap;
use std::sync::Arc;

use wechatpay_v2::{Fields, Limits, MchId, SignType, XmlError, parse_xml, sign};

use crate::Merchant;

/// A call from a merchant, verified.
pub(crate) struct Request {
    pub(crate) merchant: Arc<Merchant>,
    pub(crate) fields: Fields,
    /// The algorithm of the request, which is that of the answer.
    pub(crate) sign_type: SignType,
}

pub(crate) type Merchants = BTreeMap<MchId, Arc<Merchant>>;

/// Reads the body. `is_post` because WeChat has a text for everything else.
pub(crate) fn read(is_post: bool, body: &[u8]) -> Result<Fields, String> {
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

/// Finds the merchant and verifies the signature over everything received. The algorithm is the
/// one that `sign_type` names, MD5 when it is absent; upper-case hex only.
pub(crate) fn admit(fields: Fields, merchants: &Merchants) -> Result<Request, String> {
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

/// The text of an element that must be there and not be empty.
pub(crate) fn required<'a>(fields: &'a Fields, name: &str) -> Result<&'a str, String> {
    fields.get(name).ok_or_else(|| format!("缺少参数{name}"))
}

/// WeChat's text for a field in the wrong form.
pub(crate) fn malformed(name: &str) -> String {
    format!("{name}参数格式错误")
}
