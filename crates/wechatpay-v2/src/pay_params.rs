//! The second signing: what the front end hands to WeChat to open the payment (reference 1.4).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{ApiKey, AppId, Fields, MchId, Nonce, PrepayId, SignType, sign};

/// For `wx.requestPayment` and JSAPI. The signed `appId` is not passed to `wx.requestPayment`.
/// `Debug` leaves the signature out.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "WeChat's own names; their meaning is reference 1.4")]
pub struct JsapiPay {
    pub app_id: String,
    /// Seconds since 1970, as the very text that was signed.
    pub time_stamp: String,
    pub nonce_str: String,
    pub package: String,
    pub sign_type: SignType,
    pub pay_sign: String,
}

/// For the app SDK: all names in lower case, no `signType`. `Debug` leaves the signature out.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "WeChat's own names; their meaning is reference 1.4")]
pub struct AppPay {
    pub appid: String,
    pub partnerid: String,
    pub prepayid: String,
    pub package: String,
    pub noncestr: String,
    pub timestamp: String,
    pub sign: String,
}

/// Signs for mini program and JSAPI. `appid` is the app that runs: `sub_appid` when the order used
/// it. `timestamp_s` is in seconds since 1970.
#[must_use]
pub fn jsapi(
    appid: &AppId,
    prepay_id: &PrepayId,
    nonce: &Nonce,
    timestamp_s: i64,
    key: &ApiKey,
    sign_type: SignType,
) -> JsapiPay {
    let time_stamp = timestamp_s.to_string();
    let package = format!("prepay_id={prepay_id}");
    let fields: Fields = [
        ("appId", appid.as_str()),
        ("timeStamp", &time_stamp),
        ("nonceStr", nonce.as_str()),
        ("package", &package),
        ("signType", sign_type.as_str()),
    ]
    .into_iter()
    .collect();
    let pay_sign = sign(&fields, key, sign_type);
    JsapiPay {
        app_id: appid.to_string(),
        time_stamp,
        nonce_str: nonce.to_string(),
        package,
        sign_type,
        pay_sign,
    }
}

/// Signs for the app SDK. `timestamp_s` is in seconds since 1970.
#[must_use]
pub fn app(
    appid: &AppId,
    partner: &MchId,
    prepay_id: &PrepayId,
    nonce: &Nonce,
    timestamp_s: i64,
    key: &ApiKey,
    sign_type: SignType,
) -> AppPay {
    let timestamp = timestamp_s.to_string();
    let fields: Fields = [
        ("appid", appid.as_str()),
        ("partnerid", partner.as_str()),
        ("prepayid", prepay_id.as_str()),
        ("package", "Sign=WXPay"),
        ("noncestr", nonce.as_str()),
        ("timestamp", &timestamp),
    ]
    .into_iter()
    .collect();
    let sign = sign(&fields, key, sign_type);
    AppPay {
        appid: appid.to_string(),
        partnerid: partner.to_string(),
        prepayid: prepay_id.to_string(),
        package: "Sign=WXPay".to_owned(),
        noncestr: nonce.to_string(),
        timestamp,
        sign,
    }
}

impl fmt::Debug for JsapiPay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsapiPay")
            .field("app_id", &self.app_id)
            .field("time_stamp", &self.time_stamp)
            .field("nonce_str", &self.nonce_str)
            .field("package", &self.package)
            .field("sign_type", &self.sign_type)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for AppPay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppPay")
            .field("appid", &self.appid)
            .field("partnerid", &self.partnerid)
            .field("prepayid", &self.prepayid)
            .field("package", &self.package)
            .field("noncestr", &self.noncestr)
            .field("timestamp", &self.timestamp)
            .finish_non_exhaustive()
    }
}
