use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};
use orders::{OrderKey, Problem};
use wechatpay_v2::{MchId, OutTradeNo};

use crate::problem::Declined;

/// The order that the path names. One that cannot be a number is the number of no order.
pub(super) struct OrderInPath(pub(super) OrderKey);

impl<S: Send + Sync> FromRequestParts<S> for OrderInPath {
    type Rejection = Declined;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Declined> {
        let not_found = || Declined::from(Problem::not_found());
        let path = Path::<(String, String)>::from_request_parts(parts, state).await;
        let Path((mch_id, out_trade_no)) = path.map_err(|_| not_found())?;
        Ok(Self(OrderKey {
            mch_id: MchId::parse(mch_id).map_err(|_| not_found())?,
            out_trade_no: OutTradeNo::parse(out_trade_no).map_err(|_| not_found())?,
        }))
    }
}
