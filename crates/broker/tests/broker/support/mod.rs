//! A real broker, a namespace per test on it, and a client that bypasses the crate under test.

use std::future::Future;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use broker::{AmqpUrl, BrokerConfig, Connection, ConnectionState, Consumer, ConsumerHandle};
use broker::{ConsumerLimits, Exchange, Handler, Message, Namespace, Publisher, PublisherLimits};
use broker::{Queue, Setup, Target};
use lapin::options::{BasicGetOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, ConnectionProperties};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(crate) mod proxy;
pub(crate) mod recorder;

/// Long enough for anything that happens at all.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
/// For a single step, on a busy machine too.
pub(crate) const SHORT: Duration = Duration::from_secs(15);
pub(crate) const CONSUMER: ConsumerLimits =
    ConsumerLimits { prefetch: 100, batch_max: 20, batches_in_flight: 2, attempts_max: 2 };
pub(crate) const LIMITS: PublisherLimits = PublisherLimits { queued: 1_024, in_flight: 512 };

pub(crate) fn amqp_url() -> String {
    std::env::var("WXPAY_AMQP_URL").unwrap_or_else(|_| {
        panic!("these tests need a RabbitMQ: set WXPAY_AMQP_URL, e.g. amqp://guest:guest@127.0.0.1:5672/%2f")
    })
}

/// One test's part of the broker.
#[derive(Clone)]
pub(crate) struct TestNamespace {
    pub config: BrokerConfig,
    /// Ends every connection made here when the test does.
    pub stop: CancellationToken,
    connections: Arc<Mutex<Vec<Connection>>>,
}

/// Runs a test in a namespace of its own, and deletes that afterwards, even if the test fails.
pub(crate) async fn in_namespace<F>(test: impl FnOnce(TestNamespace) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let name = format!("t{}", Uuid::now_v7().simple());
    let config = BrokerConfig {
        amqp_url: AmqpUrl::parse(&amqp_url()).unwrap(),
        namespace: Namespace::parse(&name).unwrap(),
        connection_name: "test".to_owned(),
    };
    let namespace = TestNamespace {
        config: config.clone(),
        stop: CancellationToken::new(),
        connections: Arc::default(),
    };
    let outcome = tokio::spawn(test(namespace.clone())).await;
    namespace.stop.cancel();
    let connections = std::mem::take(&mut *namespace.connections.lock().unwrap());
    for connection in connections {
        connection.closed().await;
    }
    broker::delete_topology(&config).await.expect("the namespace can be removed");
    if let Err(failure) = outcome {
        resume_unwind(failure.into_panic());
    }
}

/// A consumer with the token that stops it.
pub(crate) struct RunningConsumer {
    pub stop: CancellationToken,
    pub handle: ConsumerHandle,
}

impl RunningConsumer {
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.handle.drained().await;
    }
}

impl TestNamespace {
    /// A connection that has declared the topology.
    pub(crate) async fn connection(&self) -> Connection {
        self.connection_as(self.config.clone(), Setup::Declare).await
    }

    pub(crate) async fn connection_as(&self, config: BrokerConfig, setup: Setup) -> Connection {
        let connection = self.start_connection(config, setup);
        wait_for_state(&connection, ConnectionState::Up).await;
        connection
    }

    pub(crate) fn start_connection(&self, config: BrokerConfig, setup: Setup) -> Connection {
        let connection = Connection::start(config, setup, self.stop.clone());
        self.connections.lock().unwrap().push(connection.clone());
        connection
    }

    pub(crate) async fn publisher(&self) -> Publisher {
        Publisher::start(self.connection().await, LIMITS)
    }

    /// A consumer with connections of its own.
    pub(crate) async fn consume<H: Handler>(
        &self,
        queue: Queue,
        limits: ConsumerLimits,
        handler: &Arc<H>,
    ) -> RunningConsumer {
        let connection = self.connection().await;
        let publisher = self.publisher().await;
        consume_on(connection, publisher, queue, limits, handler)
    }

    /// The same broker at another address.
    pub(crate) fn config_at(&self, port: u16) -> BrokerConfig {
        let uri = amqp_url();
        let (scheme, rest) = uri.split_once("://").unwrap();
        let (authority, path) = rest.split_once('/').unwrap();
        let user = authority.rsplit_once('@').map_or(String::new(), |(user, _)| format!("{user}@"));
        let joint = if path.contains('?') { '&' } else { '?' };
        let url = format!("{scheme}://{user}127.0.0.1:{port}/{path}{joint}connection_timeout=1000");
        BrokerConfig { amqp_url: AmqpUrl::parse(&url).unwrap(), ..self.config.clone() }
    }

    pub(crate) fn name(&self, name: &str) -> String {
        format!("{}.{name}", self.config.namespace)
    }

    /// Its channel is unknown to the crate under test.
    pub(crate) async fn raw_client(&self) -> RawClient {
        let connection =
            lapin::Connection::connect(&amqp_url(), ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        RawClient { channel, _connection: connection }
    }
}

pub(crate) fn consume_on<H: Handler>(
    connection: Connection,
    publisher: Publisher,
    queue: Queue,
    limits: ConsumerLimits,
    handler: &Arc<H>,
) -> RunningConsumer {
    let stop = CancellationToken::new();
    let handler = Arc::clone(handler);
    let handle = Consumer::start(connection, publisher, queue, limits, handler, stop.clone());
    RunningConsumer { stop, handle }
}

pub(crate) struct RawClient {
    pub channel: Channel,
    _connection: lapin::Connection,
}

impl RawClient {
    /// How many messages are ready, or `None` if there is no such queue.
    pub(crate) async fn count(&mut self, queue: &str) -> Option<u32> {
        let options = QueueDeclareOptions { passive: true, ..Default::default() };
        let state = self.channel.queue_declare(queue.into(), options, FieldTable::default()).await;
        if state.is_err() {
            self.channel = self._connection.create_channel().await.unwrap();
        }
        state.ok().map(|queue| queue.message_count())
    }

    pub(crate) async fn wait_for_count(&mut self, queue: &str, count: u32) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let now = self.count(queue).await;
            if now == Some(count) {
                return;
            }
            assert!(Instant::now() < deadline, "{queue} holds {now:?} and not {count}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits for the next message and takes it.
    pub(crate) async fn next_message(&mut self, queue: &str) -> RawMessage {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let options = BasicGetOptions { no_ack: true };
            if let Some(got) = self.channel.basic_get(queue.into(), options).await.unwrap() {
                let delivery = got.delivery;
                return RawMessage {
                    exchange: delivery.exchange.to_string(),
                    routing_key: delivery.routing_key.to_string(),
                    properties: delivery.properties,
                    body: delivery.data,
                };
            }
            assert!(Instant::now() < deadline, "nothing came into {queue}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// A queue on the exchange `events`, deleted with its connection.
    pub(crate) async fn bind_queue(
        &self,
        namespace: &TestNamespace,
        pattern: &str,
        arguments: &[(&str, AMQPValue)],
    ) -> String {
        let mut table = FieldTable::default();
        for (name, value) in arguments {
            table.insert((*name).into(), value.clone());
        }
        let options = QueueDeclareOptions { exclusive: true, ..Default::default() };
        let queue = self.channel.queue_declare("".into(), options, table).await.unwrap();
        let name = queue.name().to_string();
        self.channel
            .queue_bind(
                name.as_str().into(),
                namespace.name("events").as_str().into(),
                pattern.into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            )
            .await
            .unwrap();
        name
    }
}

pub(crate) struct RawMessage {
    pub exchange: String,
    pub routing_key: String,
    pub properties: BasicProperties,
    pub body: Vec<u8>,
}

impl RawMessage {
    pub(crate) fn header(&self, name: &str) -> Option<&AMQPValue> {
        self.properties.headers().as_ref()?.inner().get(name)
    }

    pub(crate) fn text_header(&self, name: &str) -> String {
        match self.header(name) {
            Some(AMQPValue::LongString(text)) => text.to_string(),
            other => panic!("{name} is {other:?}"),
        }
    }

    pub(crate) fn message_id(&self) -> String {
        self.properties.message_id().as_ref().unwrap().to_string()
    }
}

pub(crate) fn message_to(exchange: Exchange, routing_key: &str) -> Message {
    Message {
        to: Target::Exchange { exchange, routing_key: routing_key.to_owned() },
        kind: routing_key.to_owned(),
        message_id: Uuid::now_v7(),
        body: "{}".into(),
        content_type: "application/json",
        headers: Vec::new(),
        correlation_id: None,
        expiration: None,
    }
}

pub(crate) async fn wait_for_state(connection: &Connection, state: ConnectionState) {
    let mut states = connection.state();
    let reached = tokio::time::timeout(DEADLINE, states.wait_for(|now| *now == state)).await;
    assert!(reached.is_ok(), "the connection never became {state:?}");
}

pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "never true: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}
