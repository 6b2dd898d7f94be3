use std::time::Instant;

use orders::OrderKey;
use wechatpay_v2::Verdict;

use crate::clock;
use crate::store::{GatewayCall, Store};

/// A call under way, to be counted and kept as evidence without secrets.
pub(super) struct Measured {
    api: &'static str,
    at: time::OffsetDateTime,
    begun: Instant,
}

impl Measured {
    pub(super) fn begin(api: &'static str) -> Self {
        Self { api, at: clock::now(), begun: Instant::now() }
    }

    /// Evidence that cannot be kept is missed, and nothing else.
    pub(super) async fn end<T>(
        self,
        store: &Store,
        key: &OrderKey,
        verdict: &Verdict<T>,
        describe: impl FnOnce(&T) -> String,
    ) {
        let (name, detail) = match verdict {
            Verdict::Yes(value) => ("yes", describe(value)),
            Verdict::No(no) => ("no", format!("{}: {}", no.err_code, no.err_code_des)),
            Verdict::Unknown(why) => ("unknown", why.to_string()),
        };
        let elapsed = self.begun.elapsed();
        metrics::counter!("wxpay_gateway_requests_total", "api" => self.api, "outcome" => name)
            .increment(1);
        metrics::histogram!("wxpay_gateway_request_duration_seconds", "api" => self.api)
            .record(elapsed.as_secs_f64());
        let call = GatewayCall {
            api: self.api,
            outcome: name,
            detail: &detail,
            at: self.at,
            duration_ms: i32::try_from(elapsed.as_millis()).unwrap_or(i32::MAX),
        };
        if let Err(error) = store.record_call(key, &call).await {
            tracing::warn!(%key, %error, "a call to WeChat is not kept as evidence");
        }
    }
}
