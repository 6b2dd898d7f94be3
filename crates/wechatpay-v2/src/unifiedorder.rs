//! `POST /pay/unifiedorder`: creates, or re-enters, the prepay order of a number (reference 2.2).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::call_outcome::{needs_a_fix, read_answer};
use crate::{Advice, AppId, BeijingTime, Credentials, Fen, FieldError, Fields, MchId, Nonce};
use crate::{CallOutcome, OpenId, OutTradeNo, PrepayId, Unknown};

/// The path below the host.
pub const PATH: &str = "/pay/unifiedorder";

/// Where the payer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum TradeType {
    /// Official account **and mini program**.
    #[default]
    #[serde(rename = "JSAPI")]
    Jsapi,
    /// A QR code on a screen.
    #[serde(rename = "NATIVE")]
    Native,
    /// A native app.
    #[serde(rename = "APP")]
    App,
    /// A mobile browser outside WeChat (H5).
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

    /// WeChat's name.
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

/// The business parameters of the call. `mch_id`, `nonce_str`, `sign_type` and `sign` are added
/// when it is signed. The texts are sent as they stand: whoever takes them in checks their lengths
/// and characters (reference 2.2, 4.7).
///
/// `Debug` shows what identifies the order and its amount; the rest can be personal.
#[derive(Clone)]
#[expect(missing_docs, reason = "WeChat's own names; their meaning is reference 2.2")]
pub struct UnifiedOrder {
    pub appid: AppId,
    pub out_trade_no: OutTradeNo,
    pub trade_type: TradeType,
    pub body: String,
    /// In fen.
    pub total_fee: Fen,
    pub spbill_create_ip: String,
    pub notify_url: String,
    pub time_start: Option<BeijingTime>,
    pub time_expire: Option<BeijingTime>,
    pub openid: Option<OpenId>,
    pub product_id: Option<String>,
    pub scene_info: Option<String>,
    pub attach: Option<String>,
    pub detail: Option<String>,
    pub goods_tag: Option<String>,
    pub limit_pay: Option<String>,
    pub device_info: Option<String>,
    pub receipt: Option<String>,
    pub sub_mch_id: Option<MchId>,
    pub sub_appid: Option<AppId>,
    pub sub_openid: Option<OpenId>,
}

impl UnifiedOrder {
    /// The parameters as they are stored and replayed: a repetition of the call must equal the
    /// first one in everything but nonce and sign, or WeChat refuses it (reference 2.2, 4.3).
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

/// What WeChat issued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepay {
    /// Valid two hours.
    pub prepay_id: PrepayId,
    /// The text of the QR code (NATIVE), valid two hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code_url: Option<String>,
    /// The page to open (MWEB), valid five minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mweb_url: Option<String>,
}

/// Signs the stored parameters for one sending.
#[must_use]
pub fn request(parameters: Fields, by: &Credentials, nonce: &Nonce) -> Fields {
    by.sign_request(parameters, nonce)
}

/// Reads the answer. `parameters` are the ones sent: an answer about another app or trade type is
/// *unknown*.
pub fn read(body: &[u8], by: &Credentials, parameters: &Fields) -> CallOutcome<Prepay> {
    read_answer(body, by, advice, |fields| {
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

/// Documented with 64 characters, longer in practice (reference 9): 512.
fn url(fields: &Fields, name: &'static str, needed: bool) -> Result<Option<String>, FieldError> {
    match fields.get(name) {
        Some(url) if url.len() <= 512 => Ok(Some(url.to_owned())),
        None if !needed => Ok(None),
        _ => Err(FieldError::new(name, "a URL of 1 to 512 bytes")),
    }
}

/// The table of reference 2.2. A code that is not in it proves nothing about the order.
fn advice(err_code: &str) -> Advice {
    match err_code {
        "SYSTEMERROR" | "FREQUENCY_LIMITED" | "RATELIMIT_EXCEEDED" => Advice::Retry,
        "ORDERCLOSED" => Advice::NumberUnusable,
        code if needs_a_fix(code) => Advice::FixRequest,
        _ => Advice::Query,
    }
}
