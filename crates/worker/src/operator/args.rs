//! Arguments that several verbs share.

use clap::Args;
use orders::OrderKey;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use wechatpay_v2::{FieldError, MchId, OutTradeNo};

/// An order, as two arguments.
#[derive(Args)]
pub(crate) struct OrderArguments {
    /// The number of the merchant
    #[arg(value_parser = mch_id)]
    mch_id: MchId,
    /// The number of the order
    #[arg(value_parser = out_trade_no)]
    out_trade_no: OutTradeNo,
}

impl OrderArguments {
    pub(super) fn key(self) -> OrderKey {
        OrderKey { mch_id: self.mch_id, out_trade_no: self.out_trade_no }
    }
}

pub(super) fn mch_id(text: &str) -> Result<MchId, FieldError> {
    MchId::parse(text)
}

pub(super) fn out_trade_no(text: &str) -> Result<OutTradeNo, FieldError> {
    OutTradeNo::parse(text)
}

/// An order, as one argument.
pub(super) fn order_key(text: &str) -> Result<OrderKey, String> {
    let (mch, number) = text.split_once('/').ok_or("must be MCH_ID/OUT_TRADE_NO")?;
    let mch_id = mch_id(mch).map_err(|error| error.to_string())?;
    let out_trade_no = out_trade_no(number).map_err(|error| error.to_string())?;
    Ok(OrderKey { mch_id, out_trade_no })
}

pub(super) fn instant(text: &str) -> Result<OffsetDateTime, &'static str> {
    OffsetDateTime::parse(text, &Rfc3339)
        .map_err(|_| "must be a time such as 2026-11-20T08:00:00Z or 2026-11-20T16:00:00+08:00")
}
