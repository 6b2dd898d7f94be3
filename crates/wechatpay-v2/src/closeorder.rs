//! `POST /pay/closeorder`: no further payment can arrive for a number
//! ([protocol](crate::protocol#closeorder)).

use crate::call_outcome::{is_fix_request_in_every_call, read_answer};
use crate::{Advice, AppId, CallOutcome, Credentials, Fields, MchId, Nonce, OutTradeNo};

/// The path of the call's URL.
pub const PATH: &str = "/pay/closeorder";

/// The order to close. WeChat asks for five minutes between its creation and the close.
#[derive(Clone, Debug)]
pub struct CloseOrder {
    /// The `appid` of the order.
    pub appid: AppId,
    /// The number to close. It cannot be used again afterwards.
    pub out_trade_no: OutTradeNo,
    /// The sub-merchant of the order, for service providers.
    pub sub_mch_id: Option<MchId>,
    /// The sub-merchant's app, if the order has one.
    pub sub_appid: Option<AppId>,
}

/// Builds and signs the request.
#[must_use]
pub fn request(close: &CloseOrder, credentials: &Credentials, nonce: &Nonce) -> Fields {
    let mut fields = Fields::new();
    fields.insert("appid", close.appid.as_str());
    fields.insert("out_trade_no", close.out_trade_no.as_str());
    fields.insert_some("sub_mch_id", close.sub_mch_id.as_ref());
    fields.insert_some("sub_appid", close.sub_appid.as_ref());
    credentials.sign_request(fields, nonce)
}

/// Reads the answer. Success means closed now; an order that was closed before is refused with
/// `ORDERCLOSED` and [`Advice::AlreadyDone`].
pub fn read(body: &[u8], credentials: &Credentials) -> CallOutcome<()> {
    read_answer(body, credentials, advice, |_| Ok(()))
}

// PROTOCOL.md, "Error codes". An unlisted code proves nothing about the order.
fn advice(err_code: &str) -> Advice {
    match err_code {
        "ORDERCLOSED" => Advice::AlreadyDone,
        "SYSTEMERROR" | "FREQUENCY_LIMITED" | "RATELIMIT_EXCEEDED" => Advice::Retry,
        code if is_fix_request_in_every_call(code) => Advice::FixRequest,
        _ => Advice::Query,
    }
}
