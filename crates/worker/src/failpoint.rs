//! Named steps at which a test ends the process or drops an answer, by the variable `FAILPOINTS` of
//! the crate `fail`, such as `create.stored=1*return(die)`. Without the feature `failpoints` the
//! program contains none of this.

#[cfg(feature = "failpoints")]
use std::time::Duration;

use crate::schedule::CheckSchedule;
#[cfg(feature = "failpoints")]
use crate::schedule::PayableChecks;

/// The steps, in the order in which an order meets them; a test walks them all.
pub const STEPS: [&str; 22] = [
    "create.taken",
    "accept.written",
    "create.stored",
    "unifiedorder.sent",
    "unifiedorder.answered",
    "create.settled",
    "notification.taken",
    "notification.settled",
    "close.taken",
    "close.settled",
    "reconcile.claimed",
    "orderquery.sent",
    "orderquery.answered",
    "closeorder.sent",
    "closeorder.answered",
    "reconcile.settled",
    "settle.written",
    "settle.committed",
    "relay.taken",
    "relay.confirmed",
    "relay.postponed",
    "relay.swept",
];

/// `return(die)` ends the process as SIGKILL does, with nothing drained; `panic` panics. For any
/// other `return` this returns `true`: the caller treats what has just arrived as lost.
#[cfg(feature = "failpoints")]
pub(crate) fn reached(step: &'static str) -> bool {
    debug_assert!(STEPS.contains(&step), "{step} is not listed");
    fail::fail_point!(step, |what| {
        if what.as_deref() == Some("die") {
            std::process::abort();
        }
        true
    });
    false
}

#[cfg(not(feature = "failpoints"))]
pub(crate) const fn reached(_step: &'static str) -> bool {
    false
}

/// With `schedule=return` waits of minutes take seconds, so that a test can wait until the system is
/// idle.
#[cfg(feature = "failpoints")]
pub(crate) fn shortened_schedule() -> Option<CheckSchedule> {
    fail::fail_point!("schedule", |_| Some(CheckSchedule {
        close_age_min: Duration::from_secs(3),
        expiry_grace: Duration::from_secs(1),
        closed_check_delay: Duration::from_secs(3),
        payable_checks: PayableChecks::Every(Duration::from_secs(3)),
        on_demand_pause: Duration::from_secs(1),
        unknown_retry_first: Duration::from_secs(1),
        ..CheckSchedule::default()
    }));
    None
}

#[cfg(not(feature = "failpoints"))]
pub(crate) const fn shortened_schedule() -> Option<CheckSchedule> {
    None
}
