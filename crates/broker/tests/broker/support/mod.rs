//! A real broker, a namespace of one's own on it, and eyes that go past the crate under test.

use std::{
    future::Future,
    panic::resume_unwind,
    sync::{Arc, Mutex},
    time::Duration,
};

use broker::{
    AmqpUrl, BrokerConfig, Connection, ConnectionState, Consumer, ConsumerHandle, ConsumerLimits,
    Exchange, Handler, Message, Namespace, Publisher, PublisherLimits, Queue, Setup, Target,
};
use lapin::{
    BasicProperties, Channel, ConnectionProperties,
    options::{BasicGetOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(crate) mod proxy;
pub(crate) mod recorder;

/// Long enough for anything that will happen at all.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
pub(crate) const SHORT: Duration = Duration::from_secs(5);
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
pub(crate) struct Site {
    pub config: BrokerConfig,
    /// Ends every connection made here when the test does.
    pub stop: CancellationToken,
    connections: Arc<Mutex<Vec<Connection>>>,
}

/// Runs a test in a namespace of its own, and removes that afterwards, whatever happened.
pub(crate) async fn on_site<F>(test: impl FnOnce(Site) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let namespace = format!("t{}", Uuid::now_v7().simple());
    let config = BrokerConfig {
        amqp_url: AmqpUrl::parse(&amqp_url()).unwrap(),
        namespace: Namespace::parse(&namespace).unwrap(),
        connection_name: "test".to_owned(),
    };
    let site = Site {
        config: config.clone(),
        stop: CancellationToken::new(),
        connections: Arc::default(),
    };
    let outcome = tokio::spawn(test(site.clone())).await;
    site.stop.cancel();
    let connections = std::mem::take(&mut *site.connections.lock().unwrap());
    for connection in connections {
        connection.closed().await;
    }
    broker::delete_topology(&config).await.expect("the namespace can be removed");
    if let Err(failure) = outcome {
        resume_unwind(failure.into_panic());
    }
}

impl Site {
    /// A connection that has declared the topology.
    pub(crate) async fn connection(&self) -> Connection {
        self.connection_as(self.config.clone(), Setup::Declare).await
    }

    pub(crate) async fn connection_as(&self, config: BrokerConfig, setup: Setup) -> Connection {
        let connection = self.start_connection(config, setup);
        reaches(&connection, ConnectionState::Up).await;
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

    /// A consumer on a connection of its own.
    pub(crate) async fn consume<H: Handler>(
        &self,
        queue: Queue,
        limits: ConsumerLimits,
        handler: &Arc<H>,
        stop: &CancellationToken,
    ) -> ConsumerHandle {
        let (connection, copies) = (self.connection().await, self.publisher().await);
        Consumer::start(connection, copies, queue, limits, Arc::clone(handler), stop.clone())
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

    /// A channel that the crate under test knows nothing of.
    pub(crate) async fn eyes(&self) -> Eyes {
        let connection =
            lapin::Connection::connect(&amqp_url(), ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        Eyes { channel, _connection: connection }
    }
}

pub(crate) struct Eyes {
    pub channel: Channel,
    _connection: lapin::Connection,
}

impl Eyes {
    /// How many messages are ready, or `None` if there is no such queue.
    pub(crate) async fn count(&mut self, queue: &str) -> Option<u32> {
        let options = QueueDeclareOptions { passive: true, ..Default::default() };
        let state = self.channel.queue_declare(queue.into(), options, FieldTable::default()).await;
        if state.is_err() {
            self.channel = self._connection.create_channel().await.unwrap();
        }
        state.ok().map(|queue| queue.message_count())
    }

    pub(crate) async fn reaches_count(&mut self, queue: &str, count: u32) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let now = self.count(queue).await;
            if now == Some(count) {
                return;
            }
            assert!(Instant::now() < deadline, "{queue} holds {now:?} and not {count}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Takes the next message, waiting for it.
    pub(crate) async fn take(&mut self, queue: &str) -> Taken {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let options = BasicGetOptions { no_ack: true };
            if let Some(got) = self.channel.basic_get(queue.into(), options).await.unwrap() {
                let delivery = got.delivery;
                return Taken {
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

    /// A queue of the test's own on the exchange `events`, gone with its connection.
    pub(crate) async fn listen(
        &self,
        site: &Site,
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
                site.name("events").as_str().into(),
                pattern.into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            )
            .await
            .unwrap();
        name
    }
}

pub(crate) struct Taken {
    pub exchange: String,
    pub routing_key: String,
    pub properties: BasicProperties,
    pub body: Vec<u8>,
}

impl Taken {
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

pub(crate) fn to(exchange: Exchange, routing_key: &str) -> Message {
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

pub(crate) async fn reaches(connection: &Connection, state: ConnectionState) {
    let mut states = connection.state();
    let reached = tokio::time::timeout(PATIENCE, states.wait_for(|now| *now == state)).await;
    assert!(reached.is_ok(), "the connection never became {state:?}");
}

/// Waits for something to become true.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}
