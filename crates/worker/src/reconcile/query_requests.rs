use orders::OrderKey;
use service::metrics::names;
use tokio::sync::mpsc;
use wechatpay_v2::AppId;

/// Queries that wait for a permit; more are dropped.
const CHANNEL_MAX: usize = 64;

/// Requests queries of numbers without an order. The answers are recorded as evidence.
#[derive(Clone, Debug)]
pub(crate) struct QueryRequests(mpsc::Sender<QueryRequest>);

pub(crate) type QueryRequestReceiver = mpsc::Receiver<QueryRequest>;

#[derive(Debug)]
pub(crate) struct QueryRequest {
    pub(super) key: OrderKey,
    pub(super) appid: AppId,
}

impl QueryRequests {
    pub(crate) fn channel() -> (Self, QueryRequestReceiver) {
        let (sender, receiver) = mpsc::channel(CHANNEL_MAX);
        (Self(sender), receiver)
    }

    /// Never waits: a full channel drops the request.
    pub(crate) fn send(&self, key: OrderKey, appid: AppId) {
        if self.0.try_send(QueryRequest { key, appid }).is_err() {
            metrics::counter!(names::QUERIES_OVER_BUDGET).increment(1);
        }
    }
}
