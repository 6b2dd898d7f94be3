//! `POST /pay/closeorder`: no further payment shall arrive on a number (reference 2.4).

use crate::call_outcome::{needs_a_fix, read_answer};
use crate::{Advice, AppId, CallOutcome, Credentials, Fields, MchId, Nonce, OutTradeNo};

/// The path below the host.
pub const PATH: &str = "/pay/closeorder";

/// The order to close. WeChat wants five minutes between its creation and the close.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "WeChat's own names")]
pub struct CloseOrder {
    pub appid: AppId,
    pub out_trade_no: OutTradeNo,
    pub sub_mch_id: Option<MchId>,
    pub sub_appid: Option<AppId>,
}

/// Signs the request.
#[must_use]
pub fn request(close: &CloseOrder, by: &Credentials, nonce: &Nonce) -> Fields {
    let mut fields = Fields::new();
    fields.insert("appid", close.appid.as_str());
    fields.insert("out_trade_no", close.out_trade_no.as_str());
    fields.insert_some("sub_mch_id", close.sub_mch_id.as_ref());
    fields.insert_some("sub_appid", close.sub_appid.as_ref());
    by.sign_request(fields, nonce)
}

/// Reads the answer. *Yes* means closed; `ORDERCLOSED` is *no* with the advice [`Advice::AlreadyDone`].
pub fn read(body: &[u8], by: &Credentials) -> CallOutcome<()> {
    read_answer(body, by, advice, |_| Ok(()))
}

/// The table of reference 2.4. A code that is not in it proves nothing about the order.
fn advice(err_code: &str) -> Advice {
    match err_code {
        "ORDERCLOSED" => Advice::AlreadyDone,
        "SYSTEMERROR" | "FREQUENCY_LIMITED" | "RATELIMIT_EXCEEDED" => Advice::Retry,
        code if needs_a_fix(code) => Advice::FixRequest,
        _ => Advice::Query,
    }
}
