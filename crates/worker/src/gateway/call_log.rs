use std::time::Instant;

use orders::OrderKey;
use service::metrics::names;
use time::OffsetDateTime;
use wechatpay_v2::CallOutcome;

use crate::clock;
use crate::store::{GatewayCall, Store};

/// Counts every call and stores it as evidence without secrets.
#[derive(Clone, Debug)]
pub(super) struct CallLog {
    store: Store,
}

/// A call under way.
pub(super) struct CallTimer {
    api: &'static str,
    at: OffsetDateTime,
    started: Instant,
}

impl CallTimer {
    pub(super) fn start(api: &'static str) -> Self {
        Self { api, at: clock::now(), started: Instant::now() }
    }
}

impl CallLog {
    pub(super) fn new(store: Store) -> Self {
        Self { store }
    }

    /// A record that the store does not take is lost; the call counts all the same.
    pub(super) async fn record<T>(
        &self,
        key: &OrderKey,
        timer: CallTimer,
        outcome: &CallOutcome<T>,
        success_detail: impl FnOnce(&T) -> String,
    ) {
        let CallTimer { api, at, started } = timer;
        let (outcome, detail) = match outcome {
            CallOutcome::Success(value) => ("yes", success_detail(value)),
            CallOutcome::Refused(refused) => ("no", refused.to_string()),
            CallOutcome::Unknown(unknown) => ("unknown", unknown.to_string()),
        };
        let elapsed = started.elapsed();
        metrics::counter!(names::GATEWAY_REQUESTS, "api" => api, "outcome" => outcome).increment(1);
        metrics::histogram!(names::GATEWAY_REQUEST_SECONDS, "api" => api)
            .record(elapsed.as_secs_f64());
        let call = GatewayCall {
            api,
            outcome,
            detail: &detail,
            at,
            duration_ms: i32::try_from(elapsed.as_millis()).unwrap_or(i32::MAX),
        };
        if let Err(error) = self.store.record_call(key, &call).await {
            tracing::warn!(%error, "a call to WeChat could not be recorded; order explain lacks it");
        }
    }
}
