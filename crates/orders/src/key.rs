//! The identity of an order.

use std::fmt;

use serde::{Deserialize, Serialize};
use wechatpay_v2::{MchId, OutTradeNo};

/// An order's identity. It is the whole body of `order.close` and `order.query`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderKey {
    pub mch_id: MchId,
    pub out_trade_no: OutTradeNo,
}

impl fmt::Display for OrderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.mch_id, self.out_trade_no)
    }
}
