//! The exchanges and queues, as data. Every AMQP name of this system is written here and nowhere
//! else; the crate's README draws them.

use std::fmt;
use std::str::FromStr;

pub(crate) mod declare;
pub(crate) mod delete;
pub(crate) mod depths;
mod retry_delays;
mod spec;
pub(crate) mod survey;

use crate::error::InvalidSetting;
use crate::namespace::Namespace;

pub(crate) use retry_delays::{DelayStep, RETRY_DELAYS};

/// Routing key on [`Exchange::Commands`]: create an order.
pub const ORDER_CREATE: &str = "order.create";
/// Routing key on [`Exchange::Commands`]: close an order.
pub const ORDER_CLOSE: &str = "order.close";
/// Routing key on [`Exchange::Commands`]: reply with an order's view. Transient, dropped after 5 s.
pub const ORDER_QUERY: &str = "order.query";
/// Routing key on [`Exchange::Notify`]: WeChat's notification of a payment.
pub const PAYMENT: &str = "payment";
/// Routing key on [`Exchange::Notify`]: WeChat's notification of a refund.
pub const REFUND: &str = "refund";

/// The exchanges that services and shops publish or bind to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exchange {
    /// Direct: `order.create`, `order.close`, `order.query`.
    Commands,
    /// Direct: `payment`, `refund`; bodies as WeChat sent them.
    Notify,
    /// Topic: `{type}.{mch_id}`; shops bind queues of their own.
    Events,
}

/// The queues that the worker consumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Queue {
    /// Commands that change something.
    Orders,
    /// Notifications from WeChat, not verified yet.
    Notifications,
    /// Queries, answered from the database.
    Queries,
}

/// Who owns the topology (`WXPAY_TOPOLOGY`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopologyMode {
    /// The worker: it declares the topology after each connect.
    Declare,
    /// An operator: the worker only checks that it exists.
    Check,
}

/// What is done with the topology after each connect, before the connection is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    Declare,
    Check,
    /// Checks the exchanges `commands` and `notify` only: the ingress's user has no configure and
    /// read permission and uses nothing else.
    CheckPublishOnly,
}

impl From<TopologyMode> for Setup {
    fn from(mode: TopologyMode) -> Self {
        match mode {
            TopologyMode::Declare => Self::Declare,
            TopologyMode::Check => Self::Check,
        }
    }
}

impl FromStr for TopologyMode {
    type Err = InvalidSetting;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "declare" => Ok(Self::Declare),
            "check" => Ok(Self::Check),
            _ => Err(InvalidSetting("must be 'declare' or 'check'")),
        }
    }
}

impl Exchange {
    const fn name(self) -> &'static str {
        match self {
            Self::Commands => "commands",
            Self::Notify => "notify",
            Self::Events => "events",
        }
    }
}

impl Queue {
    /// The queue's name without the namespace; also the metrics label `kind`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Orders => "orders",
            Self::Notifications => "notifications",
            Self::Queries => "queries",
        }
    }

    /// The exchange and routing keys it is bound to.
    pub(crate) const fn source(self) -> (Exchange, &'static [&'static str]) {
        match self {
            Self::Orders => (Exchange::Commands, &[ORDER_CREATE, ORDER_CLOSE]),
            Self::Notifications => (Exchange::Notify, &[PAYMENT, REFUND]),
            Self::Queries => (Exchange::Commands, &[ORDER_QUERY]),
        }
    }

    /// Whether its messages may be delayed and parked. Queries may not: they are useless after
    /// seconds.
    pub(crate) const fn is_durable_work(self) -> bool {
        !matches!(self, Self::Queries)
    }
}

/// The name on the broker, `{namespace}.{exchange}`.
pub fn exchange_name(namespace: &Namespace, exchange: Exchange) -> String {
    namespace.prefixed(exchange.name())
}

/// The name on the broker, `{namespace}.{queue}`.
pub fn queue_name(namespace: &Namespace, queue: Queue) -> String {
    namespace.prefixed(queue.name())
}

/// Whether a message survives a restart of the broker. Only queries need not.
pub(crate) fn is_persistent(exchange: Exchange, routing_key: &str) -> bool {
    let (source, keys) = Queue::Queries.source();
    exchange != source || !keys.contains(&routing_key)
}

/// Name of a delay queue and of the fanout exchange in front of it.
pub(crate) fn delay_name(namespace: &Namespace, queue: Queue, step: DelayStep) -> String {
    namespace.prefixed(&format!("{}.delay.{}", queue.name(), step.name))
}

/// Name of a parked (dead-letter) queue and of the fanout exchange in front of it.
pub(crate) fn parked_name(namespace: &Namespace, queue: Queue) -> String {
    namespace.prefixed(&format!("{}.parked", queue.name()))
}

/// The name without the namespace.
pub(crate) const UNROUTED: &str = "unrouted";

/// Name of the queue of unroutable messages and of the alternate exchange in front of it.
pub(crate) fn unrouted_name(namespace: &Namespace) -> String {
    namespace.prefixed(UNROUTED)
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
