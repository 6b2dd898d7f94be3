use orders::{Order, Pay};
use time::OffsetDateTime;
use wechatpay_v2::unifiedorder::TradeType;
use wechatpay_v2::{Nonce, PrepayId, pay_params};

use crate::merchants::Merchant;

/// Signs fresh pay parameters for the front end. NATIVE pays by a code and MWEB by a URL; they need
/// none.
pub(crate) fn sign(
    order: &Order,
    prepay_id: &PrepayId,
    merchant: &Merchant,
    at: OffsetDateTime,
) -> Option<Pay> {
    let request = &order.request;
    let nonce = Nonce::generate();
    let key = &merchant.key;
    let sign_type = order.sign_type;
    let timestamp_s = at.unix_timestamp();
    // The app that runs is the sub-merchant's where the order names one.
    let appid = request.sub_appid.as_ref().unwrap_or(&request.appid);
    match request.trade_type {
        TradeType::Jsapi => {
            let pay = pay_params::jsapi(appid, prepay_id, &nonce, timestamp_s, key, sign_type);
            Some(Pay::Jsapi(pay))
        }
        TradeType::App => {
            let partner = request.sub_mch_id.as_ref().unwrap_or(&request.mch_id);
            let pay =
                pay_params::app(appid, partner, prepay_id, &nonce, timestamp_s, key, sign_type);
            Some(Pay::App(pay))
        }
        TradeType::Native | TradeType::Mweb => None,
    }
}
