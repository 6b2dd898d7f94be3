//! The arguments and bindings of each exchange and queue, in an order in which they can be declared.

use std::time::Duration;

use lapin::ExchangeKind;
use lapin::types::{AMQPValue, FieldTable};

use crate::namespace::Namespace;
use crate::topology::{
    DelayStep, Exchange, Queue, RETRY_DELAYS, delay_name, exchange_name, parked_name, queue_name,
    unrouted_name,
};

/// A delivery during which the worker died this often is assumed to be the cause, and the broker
/// parks it. RabbitMQ before 4.0 has no limit of its own.
const DELIVERY_LIMIT: i64 = 20;
/// No limit in practice, for the queues without a dead-letter exchange: reading a message returns it
/// to the queue, and RabbitMQ from 4.0 on drops what was returned 20 times unless the queue says
/// otherwise. Before 4.0 the broker refuses -1.
const UNLIMITED_DELIVERIES: i64 = i32::MAX as i64;
/// By then the sender of a query has stopped waiting.
const QUERY_TTL: Duration = Duration::from_secs(5);
const QUERIES_MAX: i64 = 10_000;

pub(super) const ALTERNATE_EXCHANGE: &str = "alternate-exchange";

pub(crate) struct ExchangeSpec {
    pub(crate) name: String,
    pub(crate) kind: ExchangeKind,
    pub(crate) arguments: FieldTable,
}

pub(crate) struct QueueSpec {
    pub(crate) name: String,
    pub(crate) arguments: FieldTable,
    pub(crate) bindings: Vec<Binding>,
}

pub(crate) struct Binding {
    pub(crate) exchange: String,
    pub(crate) routing_key: &'static str,
}

/// A dead-letter target stands before the queues that send to it, so that no dead letter is lost
/// while the topology is being declared.
pub(crate) struct Topology {
    pub(crate) exchanges: Vec<ExchangeSpec>,
    pub(crate) queues: Vec<QueueSpec>,
}

impl Topology {
    pub(crate) fn of(namespace: &Namespace) -> Self {
        let work = [Queue::Orders, Queue::Notifications];
        let parked = || work.map(|queue| parked_name(namespace, queue));
        let delays = || {
            let steps = |queue| RETRY_DELAYS.map(|step| (queue, step));
            work.into_iter().flat_map(steps)
        };

        let internal = parked()
            .into_iter()
            .chain(delays().map(|(queue, step)| delay_name(namespace, queue, step)))
            .map(|name| fanout(name, or_unrouted(namespace)));
        let mut exchanges = vec![fanout(unrouted_name(namespace), FieldTable::default())];
        exchanges.extend(Self::public_exchanges(namespace));
        exchanges.extend(internal);

        let mut queues = vec![parked_queue(unrouted_name(namespace))];
        queues.extend(parked().map(parked_queue));
        queues.extend(work.map(|queue| work_queue(namespace, queue)));
        queues.push(queries(namespace));
        queues.extend(delays().map(|(queue, step)| delay_queue(namespace, queue, step)));
        Self { exchanges, queues }
    }

    /// The two exchanges that the ingress publishes to.
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
            // Events without a bound queue are dropped on purpose: they can be replayed from the
            // database.
            spec(Exchange::Events, ExchangeKind::Topic, FieldTable::default()),
        ]
    }
}

/// Fanout, so that a message keeps its routing key, which decides what it is, through delay and
/// parked queues.
fn fanout(name: String, arguments: FieldTable) -> ExchangeSpec {
    ExchangeSpec { name, kind: ExchangeKind::Fanout, arguments }
}

/// An alternate exchange instead of `mandatory`: with pipelined confirms the client library
/// attributes returned messages to the wrong publish. On the internal exchanges too: without it, the
/// copies for a deleted delay queue would be confirmed and lost.
fn or_unrouted(namespace: &Namespace) -> FieldTable {
    table([(ALTERNATE_EXCHANGE, text(unrouted_name(namespace)))])
}

/// A quorum queue behind the fanout exchange of the same name.
fn behind_fanout<const N: usize>(
    name: String,
    arguments: [(&'static str, AMQPValue); N],
) -> QueueSpec {
    let bindings = vec![Binding { exchange: name.clone(), routing_key: "" }];
    QueueSpec { name, arguments: quorum(arguments), bindings }
}

/// Where messages wait for an operator.
fn parked_queue(name: String) -> QueueSpec {
    let limit = ("x-delivery-limit", AMQPValue::LongLongInt(UNLIMITED_DELIVERIES));
    behind_fanout(name, [limit])
}

fn work_queue(namespace: &Namespace, queue: Queue) -> QueueSpec {
    let arguments = quorum([
        ("x-delivery-limit", AMQPValue::LongLongInt(DELIVERY_LIMIT)),
        ("x-dead-letter-exchange", text(parked_name(namespace, queue))),
        ("x-dead-letter-strategy", text("at-least-once")),
        // Required by at-least-once; a full queue refuses the publish.
        ("x-overflow", text("reject-publish")),
    ]);
    QueueSpec {
        name: queue_name(namespace, queue),
        arguments,
        bindings: bindings(namespace, queue),
    }
}

fn delay_queue(namespace: &Namespace, queue: Queue, step: DelayStep) -> QueueSpec {
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

fn bindings(namespace: &Namespace, queue: Queue) -> Vec<Binding> {
    let (source, keys) = queue.source();
    let exchange = exchange_name(namespace, source);
    keys.iter().map(|routing_key| Binding { exchange: exchange.clone(), routing_key }).collect()
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
