//! How a test system differs from the default one.

use std::num::NonZeroU32;
use std::time::Duration;

use broker::AmqpUrl;
use worker::{CheckSchedule, GatewayLimits};

/// What differs from the ordinary.
#[derive(Default)]
pub struct Options {
    /// How many workers; one unless said.
    pub workers: Option<usize>,
    /// Where everybody finds the broker, when it is not the one that the environment names.
    pub amqp_text: Option<String>,
    /// Where the database is made, when it is not on the server that the environment names.
    pub database_admin_url: Option<String>,
    /// Where the ingress finds the broker, when it is not where everybody else does.
    pub ingress_amqp_url: Option<AmqpUrl>,
    /// Requests per second that the ingress takes from one source.
    pub public_rate: Option<NonZeroU32>,
    /// Everything is started before anybody has migrated the database.
    pub unmigrated: bool,
    /// Everything is started before an operator, who owns it here, has declared the topology.
    pub undeclared: bool,
    /// When the reconciler looks at an order; practically never unless said, so that a flow sees
    /// only what it causes itself.
    pub schedule: Option<CheckSchedule>,
    /// Whom the workers take commands from.
    pub clients: Option<worker::Clients>,
    /// How old an order must be before the gateway closes it; of any age unless said.
    pub gateway_close_age_min: Option<Duration>,
    /// What bounds the workers' calls; failures never pause them unless said, so that a flow sees
    /// each call that it makes fail.
    pub gateway_limits: Option<GatewayLimits>,
    /// The primary host of the gateway; the simulator is then its backup.
    pub gateway_primary: Option<String>,
}

/// The reconciler as a flow wants it that is about something else.
pub(crate) fn idle_schedule() -> CheckSchedule {
    let never = Duration::from_secs(3600);
    CheckSchedule {
        payable_check_interval: never,
        unknown_retry_first: never,
        ..CheckSchedule::default()
    }
}

/// The guards of a flow that has many calls fail on purpose and is about something else.
pub(crate) fn no_breaker() -> GatewayLimits {
    GatewayLimits { failures_max: u32::MAX, ..GatewayLimits::default() }
}

/// The reconciler in a hurry: every wait is a fraction of a second.
pub fn fast_schedule() -> CheckSchedule {
    CheckSchedule {
        close_age_min: Duration::from_millis(200),
        expiry_grace: Duration::ZERO,
        closed_check_delay: Duration::from_millis(300),
        payable_check_interval: Duration::from_millis(200),
        unknown_retry_first: Duration::from_millis(100),
    }
}
