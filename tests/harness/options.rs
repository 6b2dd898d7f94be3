//! How a test system differs from the default one.

use std::num::NonZeroU32;
use std::time::Duration;

use broker::AmqpUrl;
use worker::{CheckSchedule, GatewayLimits, PayableChecks};

#[derive(Default)]
pub struct Options {
    /// How many workers; one by default.
    pub workers: Option<usize>,
    /// The broker's URL; by default the one in the environment.
    pub amqp_text: Option<String>,
    /// The server on which the database is created; by default the one in the environment.
    pub database_admin_url: Option<String>,
    /// The broker's URL for the ingress only.
    pub ingress_amqp_url: Option<AmqpUrl>,
    /// Requests per second that the ingress accepts from one source.
    pub public_rate: Option<NonZeroU32>,
    /// Start without migrating the database.
    pub unmigrated: bool,
    /// Start without a topology. The workers only check it; an operator declares it.
    pub undeclared: bool,
    /// When the reconciler checks an order. By default practically never, so that a test sees only
    /// the calls that it causes.
    pub schedule: Option<CheckSchedule>,
    /// The AMQP users whose commands the workers accept.
    pub clients: Option<worker::Clients>,
    /// The minimum age of an order that the gateway closes; none by default.
    pub gateway_close_age_min: Option<Duration>,
    /// The limits of the workers' calls. By default failures never pause calls, so that a test sees
    /// each call that it makes fail.
    pub gateway_limits: Option<GatewayLimits>,
    /// The primary host of the gateway; the simulator is then its backup.
    pub gateway_primary: Option<String>,
}

/// A reconciler that practically never checks by itself.
pub fn idle_schedule() -> CheckSchedule {
    let never = Duration::from_secs(3600);
    CheckSchedule {
        payable_checks: PayableChecks::Every(never),
        on_demand_pause: never,
        unknown_retry_first: never,
        ..CheckSchedule::default()
    }
}

/// Limits without a breaker, for tests in which many calls fail.
pub(crate) fn no_breaker() -> GatewayLimits {
    GatewayLimits { failures_max: u32::MAX, ..GatewayLimits::default() }
}

/// A reconciler whose waits are fractions of a second.
pub fn fast_schedule() -> CheckSchedule {
    CheckSchedule {
        close_age_min: Duration::from_millis(200),
        expiry_grace: Duration::ZERO,
        closed_check_delay: Duration::from_millis(300),
        payable_checks: PayableChecks::Every(Duration::from_millis(200)),
        on_demand_pause: Duration::from_secs(3600),
        unknown_retry_first: Duration::from_millis(100),
        ..CheckSchedule::default()
    }
}
