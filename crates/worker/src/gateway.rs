//! Calls to WeChat: each is measured, and kept as evidence without secrets.

use std::time::Instant;

use orders::OrderKey;
use wechatpay_v2::client::{Client, ClientError};
use wechatpay_v2::closeorder::CloseOrder;
use wechatpay_v2::orderquery::{Found, OrderQuery, TradeState};
use wechatpay_v2::unifiedorder::Prepay;
use wechatpay_v2::{Credentials, Fields, Unknown, Verdict};

use crate::store::{Call, Store};
use crate::{clock, failpoint};

/// The gateway. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Gateway(Client);

impl Gateway {
    pub(crate) fn new(primary: &str, backup: Option<&str>) -> Result<Self, ClientError> {
        Client::new(primary, backup).map(Self)
    }

    /// Creates or re-enters an order.
    pub(crate) async fn unifiedorder(
        &self,
        store: &Store,
        key: &OrderKey,
        by: &Credentials,
        parameters: &Fields,
    ) -> Verdict<Prepay> {
        let measured = Measured::begin("unifiedorder");
        failpoint::reached("unifiedorder.sent");
        let verdict = self.0.unifiedorder(by, parameters).await;
        let verdict = arrived("unifiedorder.answered", verdict);
        measured.end(store, key, &verdict, |_| "prepay_id issued".to_owned()).await;
        verdict
    }

    /// Asks what WeChat knows of an order.
    pub(crate) async fn orderquery(
        &self,
        store: &Store,
        by: &Credentials,
        query: &OrderQuery,
    ) -> Verdict<Found> {
        let measured = Measured::begin("orderquery");
        failpoint::reached("orderquery.sent");
        let verdict = self.0.orderquery(by, query).await;
        let verdict = arrived("orderquery.answered", verdict);
        let key = OrderKey { mch_id: by.mch_id.clone(), out_trade_no: query.out_trade_no.clone() };
        measured.end(store, &key, &verdict, |found| name(&found.trade_state).to_owned()).await;
        verdict
    }

    /// Closes an order.
    pub(crate) async fn closeorder(
        &self,
        store: &Store,
        by: &Credentials,
        close: &CloseOrder,
    ) -> Verdict<()> {
        let measured = Measured::begin("closeorder");
        failpoint::reached("closeorder.sent");
        let verdict = self.0.closeorder(by, close).await;
        let verdict = arrived("closeorder.answered", verdict);
        let key = OrderKey { mch_id: by.mch_id.clone(), out_trade_no: close.out_trade_no.clone() };
        measured.end(store, &key, &verdict, |()| "closed".to_owned()).await;
        verdict
    }
}

/// What a test lets arrive of an answer.
fn arrived<T>(step: &'static str, verdict: Verdict<T>) -> Verdict<T> {
    if failpoint::reached(step) {
        return Verdict::Unknown(Unknown::Transport("the answer vanished".to_owned()));
    }
    verdict
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

struct Measured {
    api: &'static str,
    at: time::OffsetDateTime,
    begun: Instant,
}

impl Measured {
    fn begin(api: &'static str) -> Self {
        Self { api, at: clock::now(), begun: Instant::now() }
    }

    /// Evidence that cannot be kept is missed, and nothing else.
    async fn end<T>(
        self,
        store: &Store,
        key: &OrderKey,
        verdict: &Verdict<T>,
        say: impl FnOnce(&T) -> String,
    ) {
        let (name, detail) = match verdict {
            Verdict::Yes(value) => ("yes", say(value)),
            Verdict::No(no) => ("no", format!("{}: {}", no.err_code, no.err_code_des)),
            Verdict::Unknown(why) => ("unknown", why.to_string()),
        };
        let elapsed = self.begun.elapsed();
        metrics::counter!("wxpay_gateway_requests_total", "api" => self.api, "outcome" => name)
            .increment(1);
        metrics::histogram!("wxpay_gateway_request_duration_seconds", "api" => self.api)
            .record(elapsed.as_secs_f64());
        let call = Call {
            api: self.api,
            verdict: name,
            detail: &detail,
            at: self.at,
            duration_ms: i32::try_from(elapsed.as_millis()).unwrap_or(i32::MAX),
        };
        if let Err(error) = store.keep_call(key, &call).await {
            tracing::warn!(%key, %error, "a call to WeChat is not kept as evidence");
        }
    }
}
