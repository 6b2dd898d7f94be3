//! Calls to WeChat: each stands behind its merchant's limiter, is measured, and kept as evidence
//! without secrets.

mod breaker;
mod fair_semaphore;
mod limits;
mod measured;
mod merchant_limiter;
mod merchant_limiters;
mod token_bucket;

use orders::OrderKey;
use wechatpay_v2::client::{Client, ClientError};
use wechatpay_v2::closeorder::CloseOrder;
use wechatpay_v2::orderquery::{OrderQuery, OrderStatus, TradeState};
use wechatpay_v2::unifiedorder::Prepay;
use wechatpay_v2::{CallOutcome, Credentials, Fields, MchId, Unknown};

use crate::failpoint;
use crate::merchants::Merchants;
use crate::store::Store;
pub(crate) use fair_semaphore::FairSemaphore;
pub use limits::GatewayLimits;
use measured::Measured;
pub(crate) use merchant_limiter::Deferred;
use merchant_limiters::MerchantLimiters;

/// The gateway. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Gateway {
    client: Client,
    limiters: MerchantLimiters,
}

impl Gateway {
    pub(crate) fn new(
        primary: &str,
        backup: Option<&str>,
        merchants: Merchants,
        gateway_limits: &GatewayLimits,
    ) -> Result<Self, ClientError> {
        let client = Client::with_timeouts(primary, backup, gateway_limits.timeouts)?;
        Ok(Self { client, limiters: MerchantLimiters::new(merchants, gateway_limits) })
    }

    /// Creates or re-enters an order.
    pub(crate) async fn unifiedorder(
        &self,
        store: &Store,
        key: &OrderKey,
        by: &Credentials,
        parameters: &Fields,
    ) -> Result<CallOutcome<Prepay>, Deferred> {
        let call = self.client.unifiedorder(by, parameters);
        self.call("unifiedorder", store, key, by, call, |_| "prepay_id issued".to_owned()).await
    }

    /// Asks what WeChat knows of an order.
    pub(crate) async fn orderquery(
        &self,
        store: &Store,
        by: &Credentials,
        query: &OrderQuery,
    ) -> Result<CallOutcome<OrderStatus>, Deferred> {
        let key = OrderKey { mch_id: by.mch_id.clone(), out_trade_no: query.out_trade_no.clone() };
        let describe = |found: &OrderStatus| name(&found.trade_state).to_owned();
        self.call("orderquery", store, &key, by, self.client.orderquery(by, query), describe).await
    }

    /// Closes an order.
    pub(crate) async fn closeorder(
        &self,
        store: &Store,
        by: &Credentials,
        close: &CloseOrder,
    ) -> Result<CallOutcome<()>, Deferred> {
        let key = OrderKey { mch_id: by.mch_id.clone(), out_trade_no: close.out_trade_no.clone() };
        let call = self.client.closeorder(by, close);
        self.call("closeorder", store, &key, by, call, |()| "closed".to_owned()).await
    }

    /// How many orders of each merchant are worth looking at now.
    pub(crate) fn available_capacity(&self) -> Vec<(MchId, usize)> {
        self.limiters.available_capacity()
    }

    async fn call<T>(
        &self,
        api: &'static str,
        store: &Store,
        key: &OrderKey,
        by: &Credentials,
        call: impl Future<Output = CallOutcome<T>>,
        describe: impl FnOnce(&T) -> String,
    ) -> Result<CallOutcome<T>, Deferred> {
        let permit = self.limiters.acquire(by).await?;
        let measured = Measured::begin(api);
        let [sent, answered] = steps(api);
        failpoint::reached(sent);
        let mut verdict = call.await;
        if failpoint::reached(answered) {
            verdict = CallOutcome::Unknown(Unknown::Transport("the answer vanished".to_owned()));
        }
        // Before the evidence: the next call need not wait for our database.
        permit.finish(&verdict);
        self.update_host_counters();
        measured.end(store, key, &verdict, describe).await;
        Ok(verdict)
    }

    fn update_host_counters(&self) {
        for (role, host) in ["primary", "backup"].into_iter().zip(self.client.hosts()) {
            for (outcome, count) in [("sent", host.sent), ("unreachable", host.unreachable)] {
                metrics::counter!(
                    "wxpay_gateway_host_requests_total", "host" => role, "outcome" => outcome
                )
                .absolute(count);
            }
        }
    }
}

/// Where a test has a call break off.
fn steps(api: &str) -> [&'static str; 2] {
    match api {
        "unifiedorder" => ["unifiedorder.sent", "unifiedorder.answered"],
        "orderquery" => ["orderquery.sent", "orderquery.answered"],
        _ => ["closeorder.sent", "closeorder.answered"],
    }
}

fn name(state: &TradeState) -> &str {
    match state {
        TradeState::Success(_) => "SUCCESS",
        TradeState::Refund(_) => "REFUND",
        TradeState::NotPay => "NOTPAY",
        TradeState::Closed => "CLOSED",
        TradeState::Revoked => "REVOKED",
        TradeState::UserPaying => "USERPAYING",
        TradeState::Accept => "ACCEPT",
        TradeState::PayError => "PAYERROR",
        TradeState::Other(other) => other,
    }
}
