//! What each exchange and queue is like, in an order in which they can be declared.

use std::time::Duration;

use lapin::{
    ExchangeKind,
    types::{AMQPValue, FieldTable},
};

use super::{
    Exchange, LADDER, Queue, Step, delay_name, exchange_name, parked_name, queue_name,
    unrouted_name,
};
use crate::Namespace;

/// A delivery that has killed the worker this often is taken to be its fault and parked by the
/// broker itself. RabbitMQ before 4.0 has no limit of its own.
const DELIVERY_LIMIT: i64 = 20;
/// Practically none, for queues that send dead letters nowhere. Whoever looks at a message returns
/// it, and from RabbitMQ 4.0 on a queue that says nothing drops what was returned 20 times. Before
/// 4.0 the broker refuses -1.
const LOOKS_MAX: i64 = i32::MAX as i64;
/// A question nobody waits for any more is dropped.
const QUERY_TTL: Duration = Duration::from_secs(5);
const QUERIES_MAX: i64 = 10_000;

pub(super) const ALTERNATE_EXCHANGE: &str = "alternate-exchange";

/// An exchange to be: durable, with these arguments.
pub(crate) struct ExchangeSpec {
    pub(crate) name: String,
    pub(crate) kind: ExchangeKind,
    pub(crate) arguments: FieldTable,
}

/// A queue to be: durable, with these arguments, bound to these (exchange, routing key) pairs.
pub(crate) struct QueueSpec {
    pub(crate) name: String,
    pub(crate) arguments: FieldTable,
    pub(crate) bindings: Vec<(String, &'static str)>,
}

/// Everything in an order in which it can be declared: whatever takes dead letters stands before
/// whatever sends them, or at-least-once dead-lettering would have nowhere to go.
pub(crate) struct Topology {
    pub(crate) exchanges: Vec<ExchangeSpec>,
    pub(crate) queues: Vec<QueueSpec>,
}

impl Topology {
    pub(crate) fn of(namespace: &Namespace) -> Self {
        let work = [Queue::Orders, Queue::Notifications];
        let parked = || work.map(|queue| parked_name(namespace, queue));
        let delays = || {
            let rungs = |queue| LADDER.map(|step| (queue, step));
            work.into_iter().flat_map(rungs)
        };

        let internal = parked()
            .into_iter()
            .chain(delays().map(|(queue, step)| delay_name(namespace, queue, step)))
            .map(|name| fanout(name, or_unrouted(namespace)));
        let mut exchanges = vec![fanout(unrouted_name(namespace), FieldTable::default())];
        exchanges.extend(Self::public_exchanges(namespace));
        exchanges.extend(internal);

        let mut queues = vec![kept_queue(unrouted_name(namespace))];
        queues.extend(parked().map(kept_queue));
        queues.extend(work.map(|queue| work_queue(namespace, queue)));
        queues.push(queries(namespace));
        queues.extend(delays().map(|(queue, step)| delay_queue(namespace, queue, step)));
        Self { exchanges, queues }
    }

    /// What the ingress may do nothing to but publish: the two it publishes to.
    pub(crate) fn published_by_ingress(namespace: &Namespace) -> Self {
        let names = [Exchange::Commands, Exchange::Notify].map(|it| exchange_name(namespace, it));
        let mut exchanges = Self::public_exchanges(namespace);
        exchanges.retain(|exchange| names.contains(&exchange.name));
        Self { exchanges, queues: Vec::new() }
    }

    fn public_exchanges(namespace: &Namespace) -> Vec<ExchangeSpec> {
        let spec = |exchange, kind, arguments| ExchangeSpec {
            name: exchange_name(namespace, exchange),
            kind,
            arguments,
        };
        let or_unrouted = || or_unrouted(namespace);
        vec![
            spec(Exchange::Commands, ExchangeKind::Direct, or_unrouted()),
            spec(Exchange::Notify, ExchangeKind::Direct, or_unrouted()),
            // Unbound events are dropped on purpose: they can be replayed from the database.
            spec(Exchange::Events, ExchangeKind::Topic, FieldTable::default()),
        ]
    }
}

/// Keeps the routing key of whatever passes, so that a message which went through a delay queue
/// or was parked still says what it is.
fn fanout(name: String, arguments: FieldTable) -> ExchangeSpec {
    let kind = ExchangeKind::Fanout;
    ExchangeSpec { name, kind, arguments }
}

/// An alternate exchange instead of `mandatory`, which the client library attributes to the wrong
/// message when confirms are pipelined (engineering, finding 2). On the internal exchanges too:
/// if somebody deleted a delay queue, its copies would be confirmed and gone.
fn or_unrouted(namespace: &Namespace) -> FieldTable {
    table([(ALTERNATE_EXCHANGE, text(unrouted_name(namespace)))])
}

/// A quorum queue behind the fanout exchange of the same name.
fn behind_fanout<const N: usize>(
    name: String,
    arguments: [(&'static str, AMQPValue); N],
) -> QueueSpec {
    let bindings = vec![(name.clone(), "")];
    QueueSpec { name, arguments: quorum(arguments), bindings }
}

/// Where messages wait for a human.
fn kept_queue(name: String) -> QueueSpec {
    let limit = ("x-delivery-limit", AMQPValue::LongLongInt(LOOKS_MAX));
    behind_fanout(name, [limit])
}

fn work_queue(namespace: &Namespace, queue: Queue) -> QueueSpec {
    let arguments = quorum([
        ("x-delivery-limit", AMQPValue::LongLongInt(DELIVERY_LIMIT)),
        ("x-dead-letter-exchange", text(parked_name(namespace, queue))),
        ("x-dead-letter-strategy", text("at-least-once")),
        // Also what at-least-once needs, and what makes a full queue say no to its publisher.
        ("x-overflow", text("reject-publish")),
    ]);
    QueueSpec {
        name: queue_name(namespace, queue),
        arguments,
        bindings: bindings(namespace, queue),
    }
}

fn delay_queue(namespace: &Namespace, queue: Queue, step: Step) -> QueueSpec {
    let (source, _) = queue.source();
    let arguments = [
        ("x-message-ttl", milliseconds(step.delay)),
        // No dead-letter routing key: the message returns under its own.
        ("x-dead-letter-exchange", text(exchange_name(namespace, source))),
        ("x-dead-letter-strategy", text("at-least-once")),
        ("x-overflow", text("reject-publish")),
    ];
    behind_fanout(delay_name(namespace, queue, step), arguments)
}

fn queries(namespace: &Namespace) -> QueueSpec {
    let arguments = table([
        ("x-queue-type", text("classic")),
        ("x-message-ttl", milliseconds(QUERY_TTL)),
        ("x-max-length", AMQPValue::LongLongInt(QUERIES_MAX)),
        ("x-overflow", text("drop-head")),
    ]);
    let name = queue_name(namespace, Queue::Queries);
    QueueSpec { name, arguments, bindings: bindings(namespace, Queue::Queries) }
}

fn bindings(namespace: &Namespace, queue: Queue) -> Vec<(String, &'static str)> {
    let (source, keys) = queue.source();
    keys.iter().map(|key| (exchange_name(namespace, source), *key)).collect()
}

fn quorum<const N: usize>(arguments: [(&'static str, AMQPValue); N]) -> FieldTable {
    let mut table = table(arguments);
    table.insert("x-queue-type".into(), text("quorum"));
    table
}

fn table<const N: usize>(arguments: [(&'static str, AMQPValue); N]) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in arguments {
        table.insert(name.into(), value);
    }
    table
}

fn text(value: impl Into<String>) -> AMQPValue {
    AMQPValue::LongString(value.into().into())
}

fn milliseconds(duration: Duration) -> AMQPValue {
    AMQPValue::LongLongInt(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
}
