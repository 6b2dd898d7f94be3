//! Records every event of the events exchange, as a shop with a queue of its own receives it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use broker::{Exchange, Namespace, exchange_name};
use bytes::Bytes;
use futures_util::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueBindOptions, QueueDeclareOptions,
    QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ConnectionProperties, Consumer};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::eventually;

/// Records events as soon as the exchange exists. Its queue outlives its connections, as a shop's
/// does.
pub struct EventRecorder {
    bodies: Arc<Mutex<Vec<Bytes>>>,
    connections: watch::Receiver<u64>,
    amqp_url: String,
    queue: String,
    task: AbortOnDropHandle<()>,
}

const RETRY_INTERVAL: Duration = Duration::from_millis(100);
/// A connection attempt that hangs longer is retried.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The library does not report every way in which a channel can end, so it is polled too.
const STATUS_CHECK_INTERVAL: Duration = Duration::from_secs(1);
const PREFETCH: u16 = 200;
/// The broker deletes the queue of an interrupted test run after so many milliseconds.
const QUEUE_UNUSED_MAX_MS: i64 = 10 * 60 * 1000;

impl EventRecorder {
    /// Consumes the events of `namespace`.
    pub fn start(amqp_url: String, namespace: &Namespace) -> Self {
        let bodies: Arc<Mutex<Vec<Bytes>>> = Arc::default();
        let (connected, connections) = watch::channel(0);
        let recorded = Arc::clone(&bodies);
        let exchange = exchange_name(namespace, Exchange::Events);
        let queue = format!("shop.{namespace}.events");
        let url = amqp_url.clone();
        let name = queue.clone();
        let task = tokio::spawn(async move {
            loop {
                let _ = record(&url, &exchange, &name, &recorded, &connected).await;
                sleep(RETRY_INTERVAL).await;
            }
        });
        Self { bodies, connections, amqp_url, queue, task: AbortOnDropHandle::new(task) }
    }

    /// Waits until the recorder consumes. It misses no event from then on.
    pub async fn wait_until_listening(&self) {
        self.wait_until_reconnected(0).await;
    }

    /// How often the recorder has connected.
    pub fn connections(&self) -> u64 {
        *self.connections.borrow()
    }

    /// Waits until the recorder has connected more often than `before`.
    pub async fn wait_until_reconnected(&self, before: u64) {
        eventually("the events exchange", async || (self.connections() > before).then_some(()))
            .await;
    }

    /// Stops the recorder and deletes its queue.
    pub async fn remove(&self) {
        self.task.abort();
        let properties = ConnectionProperties::default();
        let connection = Connection::connect(&self.amqp_url, properties).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        let options = QueueDeleteOptions::default();
        channel.queue_delete(self.queue.as_str().into(), options).await.unwrap();
        connection.close(200, "OK".into()).await.unwrap();
    }

    /// The bodies of the events, by arrival.
    pub fn bodies(&self) -> Vec<Bytes> {
        self.bodies.lock().unwrap().clone()
    }

    /// How many events have arrived, repeats included.
    pub fn count(&self) -> usize {
        self.bodies.lock().unwrap().len()
    }

    /// The orders of the events whose numbers begin with `prefix`, by arrival.
    pub fn numbers_with_prefix(&self, prefix: &str) -> Vec<String> {
        let bodies = self.bodies();
        let events = bodies.iter().map(|body| serde_json::from_slice::<Value>(body).unwrap());
        let numbers = events.map(|event| event["out_trade_no"].as_str().unwrap().to_owned());
        numbers.filter(|number| number.starts_with(prefix)).collect()
    }

    /// The events of one order, by arrival.
    pub fn for_order(&self, out_trade_no: &str) -> Vec<Value> {
        let bodies = self.bodies();
        let events = bodies.iter().map(|body| serde_json::from_slice::<Value>(body).unwrap());
        events.filter(|event| event["out_trade_no"] == out_trade_no).collect()
    }

    /// The events of one order without repeats: a relay that misses a confirm publishes again.
    pub fn distinct(&self, out_trade_no: &str) -> Vec<Value> {
        let mut seen = HashSet::new();
        let mut events = self.for_order(out_trade_no);
        events.retain(|event| seen.insert(event["id"].to_string()));
        events
    }

    /// The types of an order's transition events, by `seq`: several workers publish in any order.
    pub fn transition_types(&self, out_trade_no: &str) -> Vec<String> {
        let mut events = self.distinct(out_trade_no);
        events.retain(|event| event["seq"].is_i64() && event["exception"].is_null());
        events.sort_by_key(|event| event["seq"].as_i64());
        let types = events.iter().map(|event| event["type"].as_str().unwrap());
        types.map(str::to_owned).collect()
    }

    /// The types of one order's events, by arrival.
    pub fn types(&self, out_trade_no: &str) -> Vec<String> {
        let events = self.for_order(out_trade_no);
        events.iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect()
    }
}

struct Listening {
    connection: Connection,
    channel: Channel,
    events: Consumer,
}

/// Consumes until the connection ends.
async fn record(
    amqp_url: &str,
    exchange: &str,
    queue: &str,
    recorded: &Mutex<Vec<Bytes>>,
    connected: &watch::Sender<u64>,
) -> lapin::Result<()> {
    let Ok(listening) = timeout(CONNECT_TIMEOUT, listen(amqp_url, exchange, queue)).await else {
        return Ok(());
    };
    let Listening { connection, channel, mut events } = listening?;
    connected.send_modify(|times| *times += 1);
    while connection.status().connected() && channel.status().connected() {
        let Ok(delivery) = timeout(STATUS_CHECK_INTERVAL, events.next()).await else { continue };
        let Some(delivery) = delivery.transpose()? else { return Ok(()) };
        recorded.lock().unwrap().push(Bytes::from(delivery.data));
        let ack = delivery.acker.ack(BasicAckOptions::default());
        let Ok(acked) = timeout(CONNECT_TIMEOUT, ack).await else { return Ok(()) };
        acked?;
    }
    Ok(())
}

async fn listen(amqp_url: &str, exchange: &str, queue: &str) -> lapin::Result<Listening> {
    // Only missing heartbeats show that the broker hangs.
    let amqp_url = format!("{amqp_url}?heartbeat=4");
    let connection = Connection::connect(&amqp_url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    arguments.insert("x-expires".into(), AMQPValue::LongLongInt(QUEUE_UNUSED_MAX_MS));
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.into(), durable, arguments).await?;
    let bind = QueueBindOptions::default();
    let none = FieldTable::default;
    channel.queue_bind(queue.into(), exchange.into(), "#".into(), bind, none()).await?;
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    let consume = BasicConsumeOptions::default();
    let events = channel.basic_consume(queue.into(), "".into(), consume, none()).await?;
    Ok(Listening { connection, channel, events })
}
