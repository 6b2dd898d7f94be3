//! The exchanges and queues, as data. Every AMQP name of this system is written here and nowhere
//! else; `design.md`, section 7, says why each exists.

use std::{fmt, str::FromStr, time::Duration};

pub(crate) mod apply;
mod spec;
pub(crate) mod survey;

pub(crate) use spec::Topology;

use crate::{InvalidSetting, Namespace};

/// Routing key on [`Exchange::Commands`]: make an order.
pub const ORDER_CREATE: &str = "order.create";
/// Routing key on [`Exchange::Commands`]: close an order.
pub const ORDER_CLOSE: &str = "order.close";
/// Routing key on [`Exchange::Commands`]: how does an order stand? Transient, gone after 5 s.
pub const ORDER_QUERY: &str = "order.query";
/// Routing key on [`Exchange::Notify`]: WeChat says that somebody paid.
pub const PAYMENT: &str = "payment";
/// Routing key on [`Exchange::Notify`]: WeChat says that a refund moved.
pub const REFUND: &str = "refund";

/// The exchanges that others publish to or bind to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exchange {
    /// Direct: `order.create`, `order.close`, `order.query`.
    Commands,
    /// Direct: `payment`, `refund`.
    Notify,
    /// Topic: `{type}.{mch_id}`; shops bind their own queues.
    Events,
}

/// The queues that the worker consumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Queue {
    /// Commands that change something.
    Orders,
    /// What WeChat told us.
    Notifications,
    /// Questions, answered from the database.
    Queries,
}

/// Who owns the topology (`WXPAY_TOPOLOGY`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopologyMode {
    /// We do: declare it at each connection.
    Declare,
    /// An operator does: only check that it is there.
    Check,
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

    /// Where its messages come from, and under which routing keys.
    pub(crate) const fn source(self) -> (Exchange, &'static [&'static str]) {
        match self {
            Self::Orders => (Exchange::Commands, &[ORDER_CREATE, ORDER_CLOSE]),
            Self::Notifications => (Exchange::Notify, &[PAYMENT, REFUND]),
            Self::Queries => (Exchange::Commands, &[ORDER_QUERY]),
        }
    }

    /// Whether its messages may wait in a delay queue and be parked. Questions may not: they are
    /// worthless after seconds.
    pub(crate) const fn is_durable_work(self) -> bool {
        !matches!(self, Self::Queries)
    }
}

/// `{namespace}.{exchange}`.
pub fn exchange_name(namespace: &Namespace, exchange: Exchange) -> String {
    namespace.prefixed(exchange.name())
}

/// `{namespace}.{queue}`.
pub fn queue_name(namespace: &Namespace, queue: Queue) -> String {
    namespace.prefixed(queue.name())
}

/// Whether a message survives a restart of the broker. Only questions need not.
pub(crate) fn is_persistent(exchange: Exchange, routing_key: &str) -> bool {
    let (source, keys) = Queue::Queries.source();
    exchange != source || !keys.contains(&routing_key)
}

/// One rung of the ladder of delays: a queue whose messages return to where they came from after
/// this long. One queue per delay, because a time to live per message would let a long one at
/// the head hold up the short ones behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) delay: Duration,
}

/// From short to long.
pub(crate) const LADDER: [Step; 4] = [
    Step { name: "5s", delay: Duration::from_secs(5) },
    Step { name: "30s", delay: Duration::from_secs(30) },
    Step { name: "2m", delay: Duration::from_secs(120) },
    Step { name: "10m", delay: Duration::from_secs(600) },
];

/// Name of a delay queue and of the fanout exchange in front of it.
pub(crate) fn delay_name(namespace: &Namespace, queue: Queue, step: Step) -> String {
    namespace.prefixed(&format!("{}.delay.{}", queue.name(), step.name))
}

/// Name of the queue where a message waits for a human, and of the fanout exchange in front.
pub(crate) fn parked_name(namespace: &Namespace, queue: Queue) -> String {
    namespace.prefixed(&format!("{}.parked", queue.name()))
}

/// What the queue is called, without its namespace, that takes what nothing is bound for.
pub(crate) const UNROUTED: &str = "unrouted";

/// Name of the queue of what nothing is bound for, and of the alternate exchange in front.
pub(crate) fn unrouted_name(namespace: &Namespace) -> String {
    namespace.prefixed(UNROUTED)
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
