//! The signed parameters with which the front end opens the payment
//! ([protocol](crate::protocol#pay-parameters)). `NATIVE` and `MWEB` need none.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{ApiKey, AppId, Fields, MchId, Nonce, PrepayId, SignType, sign};

/// The parameters of `wx.requestPayment` and of JSAPI. `Debug` omits the signature.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JsapiPay {
    /// The app that runs. It is signed, but not passed to `wx.requestPayment`.
    pub app_id: String,
    /// Seconds since 1970, as the text that was signed.
    pub time_stamp: String,
    /// The merchant's own nonce, not the one of WeChat's answer.
    pub nonce_str: String,
    /// `prepay_id=` and the prepay number.
    pub package: String,
    /// The algorithm of `paySign`, which is the order's.
    pub sign_type: SignType,
    /// The signature over the other five.
    pub pay_sign: String,
}

/// The parameters of the app SDK. `Debug` omits the signature.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppPay {
    /// The native app that runs.
    pub appid: String,
    /// The merchant, as `mch_id` elsewhere.
    pub partnerid: String,
    /// The number of the prepared payment.
    pub prepayid: String,
    /// Always the text `Sign=WXPay`.
    pub package: String,
    /// The merchant's own nonce, not the one of WeChat's answer.
    pub noncestr: String,
    /// Seconds since 1970, as the text that was signed.
    pub timestamp: String,
    /// The signature over the other six.
    pub sign: String,
}

/// Signs for mini programs and official accounts. `appid` is the app that runs: `sub_appid` if the
/// order used it. `timestamp_s` is in seconds since 1970.
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

/// Signs for the app SDK. `partner` is the merchant; `timestamp_s` is in seconds since 1970.
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
