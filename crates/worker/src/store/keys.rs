use orders::OrderKey;
use wechatpay_v2::{MchId, OutTradeNo};

use super::StoreError;

/// The keys as the two arrays that `unnest` takes.
pub(super) fn key_columns<'a>(
    keys: impl IntoIterator<Item = &'a OrderKey>,
) -> (Vec<String>, Vec<String>) {
    keys.into_iter().map(|key| (key.mch_id.to_string(), key.out_trade_no.to_string())).unzip()
}

pub(super) fn parse_key(mch_id: String, out_trade_no: String) -> Result<OrderKey, StoreError> {
    let fault = |_| StoreError::Fault("a row's key".to_owned());
    Ok(OrderKey {
        mch_id: MchId::parse(mch_id).map_err(fault)?,
        out_trade_no: OutTradeNo::parse(out_trade_no).map_err(fault)?,
    })
}
