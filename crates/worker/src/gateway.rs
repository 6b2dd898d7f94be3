//! Calls to WeChat. Each call passes its merchant's limiter, is counted, and is recorded without
//! secrets.

mod adaptive_rate;
mod breaker;
mod call_log;
mod fair_semaphore;
mod lanes;
mod limits;
mod merchant_limiter;
mod merchant_limiters;

use orders::OrderKey;
use service::metrics::names;
use tracing::{Instrument, info_span};
use wechatpay_v2::client::{Client, ClientError};
use wechatpay_v2::closeorder::CloseOrder;
use wechatpay_v2::orderquery::{OrderQuery, OrderStatus, TradeState};
use wechatpay_v2::unifiedorder::Prepay;
use wechatpay_v2::{CallOutcome, Credentials, Fields, MchId, OutTradeNo, Unknown};

use crate::failpoint;
use crate::merchants::Merchants;
use call_log::CallTimer;
use lanes::{Lanes, Turn};
use merchant_limiters::MerchantLimiters;

pub(crate) use call_log::CallRecords;
pub(crate) use fair_semaphore::FairSemaphore;
pub(crate) use lanes::{Admission, Priority};
pub use limits::GatewayLimits;
pub(crate) use merchant_limiter::Deferred;

/// Makes the calls of all merchants. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Gateway {
    client: Client,
    lanes: Lanes,
    records: CallRecords,
}

impl Gateway {
    pub(crate) fn new(
        primary: &str,
        backup: Option<&str>,
        merchants: Merchants,
        limits: &GatewayLimits,
        records: CallRecords,
    ) -> Result<Self, ClientError> {
        Ok(Self {
            client: Client::with_timeouts(primary, backup, limits.timeouts)?,
            lanes: Lanes::new(MerchantLimiters::new(merchants, limits), limits.concurrent_calls),
            records,
        })
    }

    pub(crate) async fn unifiedorder(
        &self,
        key: &OrderKey,
        credentials: &Credentials,
        parameters: &Fields,
        admission: Option<Admission>,
    ) -> Result<CallOutcome<Prepay>, Deferred> {
        let turn = self.lanes.turn(credentials, Priority::Create, admission).await?;
        let call = self.client.unifiedorder(credentials, parameters);
        let detail = |_: &Prepay| "prepay_id issued".to_owned();
        self.call("unifiedorder", key, turn, call, detail).await
    }

    pub(crate) async fn orderquery(
        &self,
        credentials: &Credentials,
        query: &OrderQuery,
        priority: Priority,
    ) -> Result<CallOutcome<OrderStatus>, Deferred> {
        let key = key_of(credentials, &query.out_trade_no);
        let turn = self.lanes.turn(credentials, priority, None).await?;
        let call = self.client.orderquery(credentials, query);
        let detail = |found: &OrderStatus| state_name(&found.trade_state).to_owned();
        self.call("orderquery", &key, turn, call, detail).await
    }

    pub(crate) async fn closeorder(
        &self,
        credentials: &Credentials,
        close: &CloseOrder,
    ) -> Result<CallOutcome<()>, Deferred> {
        let key = key_of(credentials, &close.out_trade_no);
        let turn = self.lanes.turn(credentials, Priority::Close, None).await?;
        let call = self.client.closeorder(credentials, close);
        let detail = |(): &()| "closed".to_owned();
        self.call("closeorder", &key, turn, call, detail).await
    }

    /// A place in its merchant's lane for a new order. `Ok(None)`: the lane is full.
    pub(crate) fn admit(&self, mch_id: &MchId) -> Result<Option<Admission>, Deferred> {
        self.lanes.admit(mch_id)
    }

    /// A place for an order that was claimed because there were places.
    pub(crate) fn admit_claimed(&self, mch_id: &MchId) -> Admission {
        self.lanes.admit_claimed(mch_id)
    }

    /// How many more new orders the lane of each merchant takes.
    pub(crate) fn available_places(&self) -> Vec<(MchId, usize)> {
        self.lanes.available_places()
    }

    /// For how many orders of each merchant a check could be made now.
    pub(crate) fn available_checks(&self) -> Vec<(MchId, usize)> {
        self.lanes.available_checks()
    }

    /// How many workers make calls, this one included: each makes its part of a merchant's rate.
    pub(crate) fn set_workers(&self, workers: u32) {
        self.lanes.set_workers(workers);
    }

    /// How many calls a second this worker makes for each merchant at most.
    pub(crate) fn rates(&self) -> Vec<(MchId, u32)> {
        self.lanes.rates()
    }

    /// Calls that wait are deferred, and no further one begins.
    pub(crate) fn close(&self) {
        self.lanes.close();
    }

    /// Makes the call and records it. `detail` is the text that is recorded for a success.
    async fn call<T>(
        &self,
        api: &'static str,
        key: &OrderKey,
        turn: Turn,
        call: impl Future<Output = CallOutcome<T>>,
        detail: impl FnOnce(&T) -> String,
    ) -> Result<CallOutcome<T>, Deferred> {
        let call_and_record = async {
            let timer = CallTimer::start(api);
            let [sent, answered] = failpoints(api);
            failpoint::reached(sent);
            let mut outcome = call.await;
            if failpoint::reached(answered) {
                outcome =
                    CallOutcome::Unknown(Unknown::Transport("the answer vanished".to_owned()));
            }
            turn.finish(&outcome);
            self.update_host_counters();
            self.records.add(key, timer, &outcome, detail);
            Ok(outcome)
        };
        call_and_record.instrument(info_span!("gateway_call", api)).await
    }

    fn update_host_counters(&self) {
        for (role, host) in ["primary", "backup"].into_iter().zip(self.client.hosts()) {
            for (outcome, count) in [("sent", host.sent), ("unreachable", host.unreachable)] {
                metrics::counter!(
                    names::GATEWAY_HOST_REQUESTS, "host" => role, "outcome" => outcome
                )
                .absolute(count);
            }
        }
    }
}

fn key_of(credentials: &Credentials, out_trade_no: &OutTradeNo) -> OrderKey {
    OrderKey { mch_id: credentials.mch_id.clone(), out_trade_no: out_trade_no.clone() }
}

/// The steps at which a test interrupts a call.
fn failpoints(api: &str) -> [&'static str; 2] {
    match api {
        "unifiedorder" => ["unifiedorder.sent", "unifiedorder.answered"],
        "orderquery" => ["orderquery.sent", "orderquery.answered"],
        _ => ["closeorder.sent", "closeorder.answered"],
    }
}

fn state_name(state: &TradeState) -> &str {
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
