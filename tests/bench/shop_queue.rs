//! A durable queue of a shop, bound to every event, and what arrives in it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicQosOptions, ExchangeDeclareOptions,
    QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Connection, ConnectionProperties, Consumer, ExchangeKind};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

const PREFETCH: u16 = 2_000;
/// One acknowledgement for so many deliveries, or for those of so long.
const ACK_EVERY: usize = 200;
const ACK_DELAY: Duration = Duration::from_millis(20);
const POLL_INTERVAL: Duration = Duration::from_millis(5);
const NUMBER: &[u8] = b"\"out_trade_no\":\"";

pub(crate) struct ShopQueue {
    arrivals: Arc<Mutex<Arrivals>>,
    connection: Connection,
    queue: String,
    _task: AbortOnDropHandle<()>,
}

/// When the first event of each kind about each order arrived.
#[derive(Default)]
struct Arrivals {
    payable: HashMap<String, Instant>,
    paid: HashMap<String, Instant>,
    events: usize,
    bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Payable,
    Paid,
}

impl ShopQueue {
    /// Declares the exchange, as the worker and the peer declare it, and a queue bound to it.
    pub(crate) async fn bind(amqp_url: &str, exchange: &str, queue: &str) -> Result<Self> {
        let connection = Connection::connect(amqp_url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let none = FieldTable::default;
        let declare =
            channel.exchange_declare(exchange.into(), ExchangeKind::Topic, durable, none());
        declare.await.context("cannot declare the events exchange")?;
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(queue.into(), durable, arguments).await?;
        let bind = QueueBindOptions::default();
        channel.queue_bind(queue.into(), exchange.into(), "#".into(), bind, none()).await?;
        channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
        let consume = BasicConsumeOptions::default();
        let events = channel.basic_consume(queue.into(), "".into(), consume, none()).await?;
        let arrivals: Arc<Mutex<Arrivals>> = Arc::default();
        let task = tokio::spawn(receive(events, Arc::clone(&arrivals)));
        let _task = AbortOnDropHandle::new(task);
        Ok(Self { arrivals, connection, queue: queue.to_owned(), _task })
    }

    /// How many orders have had an event of this kind.
    pub(crate) fn count(&self, kind: Kind) -> usize {
        self.arrivals.lock().unwrap().of(kind).len()
    }

    /// When the event of this kind about an order arrived.
    pub(crate) fn arrival(&self, kind: Kind, out_trade_no: &str) -> Option<Instant> {
        self.arrivals.lock().unwrap().of(kind).get(out_trade_no).copied()
    }

    /// When the last one of this kind arrived.
    pub(crate) fn last(&self, kind: Kind) -> Option<Instant> {
        self.arrivals.lock().unwrap().of(kind).values().max().copied()
    }

    /// The average size of an event.
    pub(crate) fn bytes_each(&self) -> usize {
        let arrivals = self.arrivals.lock().unwrap();
        arrivals.bytes / arrivals.events.max(1)
    }

    /// Takes the orders whose events of this kind have arrived since the last call.
    pub(crate) fn take(&self, kind: Kind) -> HashMap<String, Instant> {
        std::mem::take(self.arrivals.lock().unwrap().of_mut(kind))
    }

    /// Waits until so many orders have had an event of this kind, or the deadline is over. Returns
    /// how many have.
    pub(crate) async fn wait_for(&self, kind: Kind, count: usize, deadline: Instant) -> usize {
        loop {
            let arrived = self.count(kind);
            if arrived >= count || Instant::now() >= deadline {
                return arrived;
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Deletes the queue and disconnects.
    pub(crate) async fn remove(&self) -> Result<()> {
        let channel = self.connection.create_channel().await?;
        let options = QueueDeleteOptions::default();
        channel.queue_delete(self.queue.as_str().into(), options).await?;
        Ok(self.connection.close(200, "OK".into()).await?)
    }
}

impl Arrivals {
    fn of(&self, kind: Kind) -> &HashMap<String, Instant> {
        match kind {
            Kind::Payable => &self.payable,
            Kind::Paid => &self.paid,
        }
    }

    fn of_mut(&mut self, kind: Kind) -> &mut HashMap<String, Instant> {
        match kind {
            Kind::Payable => &mut self.payable,
            Kind::Paid => &mut self.paid,
        }
    }

    fn record(&mut self, delivery: &Delivery) {
        self.events += 1;
        self.bytes += delivery.data.len();
        let key = delivery.routing_key.as_str();
        let kind = if key.starts_with("order.payable") {
            Kind::Payable
        } else if key.starts_with("order.paid") {
            Kind::Paid
        } else {
            return;
        };
        if let Some(number) = number(&delivery.data) {
            // A relay that misses a confirm publishes again.
            self.of_mut(kind).entry(number).or_insert_with(Instant::now);
        }
    }
}

async fn receive(mut events: Consumer, arrivals: Arc<Mutex<Arrivals>>) {
    let mut unacked: Option<Delivery> = None;
    let mut waiting = 0;
    loop {
        let next = match &unacked {
            None => events.next().await,
            Some(_) => timeout(ACK_DELAY, events.next()).await.unwrap_or(None),
        };
        let is_idle = next.is_none();
        match next {
            Some(Ok(delivery)) => {
                arrivals.lock().unwrap().record(&delivery);
                unacked = Some(delivery);
                waiting += 1;
            }
            Some(Err(_)) => return,
            // The queue is gone.
            None if unacked.is_none() => return,
            None => {}
        }
        if is_idle || waiting >= ACK_EVERY {
            waiting = 0;
            let multiple = BasicAckOptions { multiple: true };
            if let Some(last) = unacked.take()
                && last.acker.ack(multiple).await.is_err()
            {
                return;
            }
        }
    }
}

/// The order number in the body of an event, read without parsing the rest.
fn number(body: &[u8]) -> Option<String> {
    let at = body.windows(NUMBER.len()).position(|bytes| bytes == NUMBER)?;
    let rest = &body[at + NUMBER.len()..];
    let end = rest.iter().position(|byte| *byte == b'"')?;
    String::from_utf8(rest[..end].to_vec()).ok()
}
