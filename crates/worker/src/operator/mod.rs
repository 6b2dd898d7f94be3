//! The operator's verbs: one noun, one file. Whatever changes something is written down with who
//! did it.

mod doctor;
mod elements;
mod events;
mod exceptions;
mod explain;
mod notification;
mod order;
mod output;
mod parked;

pub(crate) use doctor::{Doctor, run as doctor};
pub(crate) use events::{EventsVerb, run as events};
pub(crate) use exceptions::{ExceptionsVerb, run as exceptions};
pub(crate) use notification::{NotificationVerb, run as notification};
pub(crate) use order::{OrderVerb, run as order};
pub(crate) use parked::{ParkedVerb, run as parked};

use std::process::ExitCode;

use orders::OrderKey;
use wechatpay_v2::{FieldError, MchId, OutTradeNo};
use worker::store::{OperatorAction, Store};
use worker::{CheckSchedule, OutboxNotifier, settings};

/// Not found, or not done.
const FAILED: ExitCode = ExitCode::FAILURE;
/// No user's name is longer.
const OPERATOR_CHARS_MAX: usize = 64;

/// An order, as two arguments.
#[derive(clap::Args)]
pub(crate) struct OrderArguments {
    /// The merchant's number
    #[arg(value_parser = mch_id)]
    mch_id: MchId,
    /// The order's number
    #[arg(value_parser = out_trade_no)]
    out_trade_no: OutTradeNo,
}

impl OrderArguments {
    fn key(self) -> OrderKey {
        OrderKey { mch_id: self.mch_id, out_trade_no: self.out_trade_no }
    }
}

fn mch_id(text: &str) -> Result<MchId, FieldError> {
    MchId::parse(text)
}

fn out_trade_no(text: &str) -> Result<OutTradeNo, FieldError> {
    OutTradeNo::parse(text)
}

/// Events that a verb writes are left to the relay of a running worker.
fn store() -> anyhow::Result<Store> {
    let url = settings::database_url()?;
    Ok(Store::open(url.expose(), OutboxNotifier::disconnected(), CheckSchedule::default())?)
}

fn broker_config(verb: &str) -> anyhow::Result<broker::BrokerConfig> {
    let (amqp_url, namespace) = settings::broker_settings()?;
    let connection_name = format!("wxpay-worker {verb}");
    Ok(broker::BrokerConfig { amqp_url, namespace, connection_name })
}

/// What the present user does.
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
