//! Calls to WeChat, measured.

use std::time::Instant;

use wechatpay_v2::client::{Client, ClientError};
use wechatpay_v2::unifiedorder::Prepay;
use wechatpay_v2::{Credentials, Fields, Verdict};

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
        by: &Credentials,
        parameters: &Fields,
    ) -> Verdict<Prepay> {
        let begun = Instant::now();
        let verdict = self.0.unifiedorder(by, parameters).await;
        record("unifiedorder", &verdict, begun);
        verdict
    }
}

fn record<T>(api: &'static str, verdict: &Verdict<T>, begun: Instant) {
    let outcome = match verdict {
        Verdict::Yes(_) => "yes",
        Verdict::No(_) => "no",
        Verdict::Unknown(_) => "unknown",
    };
    metrics::counter!("wxpay_gateway_requests_total", "api" => api, "outcome" => outcome)
        .increment(1);
    metrics::histogram!("wxpay_gateway_request_duration_seconds", "api" => api)
        .record(begun.elapsed().as_secs_f64());
}
