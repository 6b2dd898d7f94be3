//! `POST /pay/unifiedorder`: creates the prepay order of a number, or returns it again
//! ([protocol](crate::protocol#unifiedorder)).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::call_outcome::{is_fix_request_in_every_call, read_answer};
use crate::{
    Advice, AppId, BeijingTime, CallOutcome, Credentials, Fen, FieldError, Fields, MchId, Nonce,
    OpenId, OutTradeNo, PrepayId, Unknown,
};

/// The path of the call's URL.
pub const PATH: &str = "/pay/unifiedorder";

/// Where the payer opens the payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum TradeType {
    /// In an official account **or a mini program**, both within WeChat.
    #[default]
    #[serde(rename = "JSAPI")]
    Jsapi,
    /// By scanning a QR code that the merchant shows.
    #[serde(rename = "NATIVE")]
    Native,
    /// In a native app with WeChat's SDK.
    #[serde(rename = "APP")]
    App,
    /// In a mobile browser outside WeChat (H5).
    #[serde(rename = "MWEB")]
    Mweb,
}

impl TradeType {
    /// Reads the value of `trade_type`.
    ///
    /// # Errors
    /// When the text is none of WeChat's four names.
    pub fn parse(text: &str) -> Result<Self, FieldError> {
        match text {
            "JSAPI" => Ok(Self::Jsapi),
            "NATIVE" => Ok(Self::Native),
            "APP" => Ok(Self::App),
            "MWEB" => Ok(Self::Mweb),
            _ => Err(FieldError::new("trade_type", "JSAPI, NATIVE, APP or MWEB")),
        }
    }

    /// WeChat's name of the trade type.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Jsapi => "JSAPI",
            Self::Native => "NATIVE",
            Self::App => "APP",
            Self::Mweb => "MWEB",
        }
    }
}

/// The business parameters of the call. Signing adds `mch_id`, `nonce_str`, `sign_type` and `sign`.
///
/// The texts are sent unchanged and unchecked: the caller checks their lengths and characters.
/// `Debug` shows what identifies the order and its amount; the rest can be personal data.
#[derive(Clone)]
pub struct UnifiedOrder {
    /// The app in which the payer pays; in provider mode the provider's.
    pub appid: AppId,
    /// The merchant's number of this payment attempt.
    pub out_trade_no: OutTradeNo,
    /// Where the payer opens the payment.
    pub trade_type: TradeType,
    /// The product, shown to the payer. At most 127 bytes.
    pub body: String,
    /// The amount, at least 1 fen.
    pub total_fee: Fen,
    /// The payer's IP address, or the caller's for `NATIVE`.
    pub spbill_create_ip: String,
    /// Where WeChat posts the payment. A public URL without a query string.
    pub notify_url: String,
    /// When the order was made.
    pub time_start: Option<BeijingTime>,
    /// When the order stops being payable, at least five minutes after the call.
    pub time_expire: Option<BeijingTime>,
    /// The payer under `appid`. Required for `JSAPI` unless there is a `sub_openid`.
    pub openid: Option<OpenId>,
    /// The merchant's number of the product. Required for `NATIVE`.
    pub product_id: Option<String>,
    /// JSON about the shop. Required for `MWEB`.
    pub scene_info: Option<String>,
    /// A text that comes back in the notification and the query. At most 127 bytes.
    pub attach: Option<String>,
    /// JSON about the single goods. At most 6,000 characters.
    pub detail: Option<String>,
    /// Selects the coupons that apply.
    pub goods_tag: Option<String>,
    /// `no_credit` excludes credit cards.
    pub limit_pay: Option<String>,
    /// The number of the terminal or shop.
    pub device_info: Option<String>,
    /// `Y` offers the payer an invoice.
    pub receipt: Option<String>,
    /// The sub-merchant, for service providers.
    pub sub_mch_id: Option<MchId>,
    /// The sub-merchant's app, for service providers.
    pub sub_appid: Option<AppId>,
    /// The payer under `sub_appid`, for service providers.
    pub sub_openid: Option<OpenId>,
}

impl UnifiedOrder {
    /// The parameters to store and to send again: a repeated call must equal the first one in
    /// everything but nonce and sign, or WeChat refuses it.
    #[must_use]
    pub fn parameters(&self) -> Fields {
        let mut fields = Fields::new();
        fields.insert("appid", self.appid.as_str());
        fields.insert("out_trade_no", self.out_trade_no.as_str());
        fields.insert("trade_type", self.trade_type.as_str());
        fields.insert("body", &self.body);
        fields.insert("total_fee", self.total_fee.to_string());
        fields.insert("fee_type", "CNY");
        fields.insert("spbill_create_ip", &self.spbill_create_ip);
        fields.insert("notify_url", &self.notify_url);
        fields.insert_some("time_start", self.time_start);
        fields.insert_some("time_expire", self.time_expire);
        fields.insert_some("openid", self.openid.as_ref().map(OpenId::as_str));
        fields.insert_some("product_id", self.product_id.as_ref());
        fields.insert_some("scene_info", self.scene_info.as_ref());
        fields.insert_some("attach", self.attach.as_ref());
        fields.insert_some("detail", self.detail.as_ref());
        fields.insert_some("goods_tag", self.goods_tag.as_ref());
        fields.insert_some("limit_pay", self.limit_pay.as_ref());
        fields.insert_some("device_info", self.device_info.as_ref());
        fields.insert_some("receipt", self.receipt.as_ref());
        fields.insert_some("sub_mch_id", self.sub_mch_id.as_ref());
        fields.insert_some("sub_appid", self.sub_appid.as_ref());
        fields.insert_some("sub_openid", self.sub_openid.as_ref().map(OpenId::as_str));
        fields
    }
}

impl fmt::Debug for UnifiedOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnifiedOrder")
            .field("appid", &self.appid)
            .field("out_trade_no", &self.out_trade_no)
            .field("trade_type", &self.trade_type)
            .field("total_fee", &self.total_fee)
            .field("time_expire", &self.time_expire)
            .finish_non_exhaustive()
    }
}

/// What WeChat issued: the payer can pay with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepay {
    /// Opens the payment, for two hours.
    pub prepay_id: PrepayId,
    /// The text of the QR code (`NATIVE`), valid for two hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code_url: Option<String>,
    /// The page to open (`MWEB`), valid for five minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mweb_url: Option<String>,
}

/// Signs the stored parameters for one request.
#[must_use]
pub fn request(parameters: Fields, credentials: &Credentials, nonce: &Nonce) -> Fields {
    credentials.sign_request(parameters, nonce)
}

/// Reads the answer to a request with these `parameters`. An answer about another app or trade type
/// is unknown.
pub fn read(body: &[u8], credentials: &Credentials, parameters: &Fields) -> CallOutcome<Prepay> {
    read_answer(body, credentials, advice, |fields| {
        for name in ["appid", "trade_type"] {
            if fields.get(name) != parameters.get(name) {
                return Err(Unknown::Mismatch(name));
            }
        }
        let trade_type = TradeType::parse(fields.get("trade_type").unwrap_or_default())?;
        Ok(Prepay {
            prepay_id: PrepayId::parse(fields.get("prepay_id").unwrap_or_default())?,
            code_url: url(fields, "code_url", trade_type == TradeType::Native)?,
            mweb_url: url(fields, "mweb_url", trade_type == TradeType::Mweb)?,
        })
    })
}

// Documented with 64 characters, but WeChat's own examples are longer.
fn url(fields: &Fields, name: &'static str, required: bool) -> Result<Option<String>, FieldError> {
    match fields.get(name) {
        Some(url) if url.len() <= 512 => Ok(Some(url.to_owned())),
        None if !required => Ok(None),
        _ => Err(FieldError::new(name, "a URL of 1 to 512 bytes")),
    }
}

// PROTOCOL.md, "Error codes". An unlisted code proves nothing about the order.
fn advice(err_code: &str) -> Advice {
    match err_code {
        "SYSTEMERROR" | "FREQUENCY_LIMITED" | "RATELIMIT_EXCEEDED" => Advice::Retry,
        "ORDERCLOSED" => Advice::NumberUnusable,
        code if is_fix_request_in_every_call(code) => Advice::FixRequest,
        _ => Advice::Query,
    }
}
