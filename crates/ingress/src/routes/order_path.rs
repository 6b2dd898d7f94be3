use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use orders::{OrderKey, Problem};
use tracing::Span;
use wechatpay_v2::{MchId, OutTradeNo};

use crate::api_error::ApiError;

/// The order that the path names, recorded in the request's span. A path that cannot name an order
/// is answered with 404.
pub(super) struct OrderPath(pub(super) OrderKey);

impl<S: Send + Sync> FromRequestParts<S> for OrderPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let not_found = || ApiError::from(Problem::not_found());
        let path = Path::<(String, String)>::from_request_parts(parts, state).await;
        let Path((mch_id, out_trade_no)) = path.map_err(|_| not_found())?;
        let key = OrderKey {
            mch_id: MchId::parse(mch_id).map_err(|_| not_found())?,
            out_trade_no: OutTradeNo::parse(out_trade_no).map_err(|_| not_found())?,
        };
        record_order(&key);
        Ok(Self(key))
    }
}

/// Adds the order to the request's span.
pub(super) fn record_order(key: &OrderKey) {
    let span = Span::current();
    span.record("mch_id", key.mch_id.as_str());
    span.record("out_trade_no", key.out_trade_no.as_str());
}
