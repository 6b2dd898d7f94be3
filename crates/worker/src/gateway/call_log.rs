use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use orders::OrderKey;
use service::metrics::names;
use time::OffsetDateTime;
use wechatpay_v2::CallOutcome;

use crate::clock;
use crate::store::CallRecord;

/// Records that wait to be stored. It is more than the calls in progress; only a database that is
/// away makes them so many.
const WAITING_MAX: usize = 4096;

/// The evidence of calls that have ended, until it is stored. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct CallRecords(Arc<Mutex<Vec<CallRecord>>>);

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

impl CallRecords {
    /// Counts a call, and keeps it as evidence without secrets for the next transaction that
    /// settles. Beyond a bound the record is lost; the call counts all the same.
    pub(super) fn add<T>(
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
        let duration_ms = i32::try_from(elapsed.as_millis()).unwrap_or(i32::MAX);
        let mut waiting = self.waiting();
        if waiting.len() < WAITING_MAX {
            waiting.push(CallRecord { key: key.clone(), api, outcome, detail, at, duration_ms });
        } else {
            tracing::warn!("a call to WeChat is not recorded: the database takes none");
        }
    }

    /// All records that wait; the caller stores them.
    pub(crate) fn take(&self) -> Vec<CallRecord> {
        std::mem::take(&mut *self.waiting())
    }

    /// Keeps records that could not be stored for the next transaction.
    pub(crate) fn put_back(&self, mut records: Vec<CallRecord>) {
        let mut waiting = self.waiting();
        let capacity = WAITING_MAX.saturating_sub(waiting.len());
        records.truncate(capacity);
        waiting.append(&mut records);
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<CallRecord>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
