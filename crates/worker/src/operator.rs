//! The operator's verbs, one noun in one file. Every verb that changes something records who did
//! it.

mod args;
mod doctor;
mod elements;
mod events;
mod exceptions;
mod explain;
mod notification;
mod order;
mod output;
mod parked;

use std::process::ExitCode;

use broker::BrokerConfig;
use service::Settings;

use crate::config;
use crate::schedule::CheckSchedule;
use crate::store::{OperatorAction, OutboxNotifier, Store};

pub(crate) use doctor::{Doctor, run as doctor};
pub(crate) use events::{EventsVerb, run as events};
pub(crate) use exceptions::{ExceptionsVerb, run as exceptions};
pub(crate) use notification::{NotificationVerb, run as notification};
pub(crate) use order::{OrderVerb, run as order};
pub(crate) use parked::{ParkedVerb, run as parked};

/// Not found, or not done.
const FAILED: ExitCode = ExitCode::FAILURE;
/// No user name is longer.
const OPERATOR_CHARS_MAX: usize = 64;

/// The relay of a running worker publishes the events that a verb writes.
fn store() -> anyhow::Result<Store> {
    let url = config::database_url(&Settings::from_env())?;
    let outbox = OutboxNotifier::disconnected();
    Ok(Store::open(url.expose(), outbox, CheckSchedule::default())?)
}

fn broker_config(verb: &str) -> anyhow::Result<BrokerConfig> {
    let (amqp_url, namespace) = config::broker(&Settings::from_env())?;
    let connection_name = format!("wxpay-worker {verb}");
    Ok(BrokerConfig { amqp_url, namespace, connection_name })
}

/// An action of the current user.
fn action(verb: &'static str, subject: impl ToString, reason: Option<&str>) -> OperatorAction {
    let user = std::env::var("USER").unwrap_or_default();
    let user: String = user.chars().take(OPERATOR_CHARS_MAX).collect();
    OperatorAction {
        operator: if user.is_empty() { "unknown".to_owned() } else { user },
        verb,
        subject: subject.to_string(),
        reason: reason.map(str::to_owned),
    }
}
