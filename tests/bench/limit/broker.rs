//! Publishes the messages of a run with confirms, and receives them, like a program that does
//! nothing else.

use anyhow::{Context, Result};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, Consumer};
use tokio_util::task::AbortOnDropHandle;

/// Publishes that wait for their confirms.
const WINDOW: usize = 1_024;
const PREFETCH: u16 = 2_000;
const ACK_EVERY: u64 = 200;
const PERSISTENT: u8 = 2;
/// One for what comes in, one for events, as in the system.
const QUEUES: [&str; 2] = ["bench.limit.requests", "bench.limit.events"];

/// What each order sends.
#[derive(Clone, Copy)]
pub(crate) struct Message {
    pub(crate) request_bytes: usize,
    pub(crate) event_bytes: usize,
    pub(crate) events_each: usize,
}

pub(crate) struct Traffic {
    message: Message,
    connection: Connection,
    consuming: Connection,
    channel: Channel,
    _tasks: Vec<AbortOnDropHandle<()>>,
}

impl Traffic {
    pub(crate) async fn start(amqp_url: &str, message: Message) -> Result<Self> {
        let connection = Connection::connect(amqp_url, ConnectionProperties::default()).await?;
        let consuming = Connection::connect(amqp_url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        let mut tasks = Vec::new();
        for queue in QUEUES {
            let mut arguments = FieldTable::default();
            arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
            let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
            channel.queue_declare(queue.into(), durable, arguments).await?;
            let receiving = consuming.create_channel().await?;
            receiving.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
            let options = BasicConsumeOptions::default();
            let none = FieldTable::default();
            let consume = receiving.basic_consume(queue.into(), "".into(), options, none);
            tasks.push(AbortOnDropHandle::new(tokio::spawn(receive(consume.await?))));
        }
        Ok(Self { message, connection, consuming, channel, _tasks: tasks })
    }

    /// Sends what so many orders send, and returns when all is confirmed.
    pub(crate) async fn send(&mut self, orders: usize) -> Result<()> {
        let Message { request_bytes, event_bytes, events_each } = self.message;
        let request = vec![b'x'; request_bytes];
        let event = vec![b'x'; event_bytes];
        let mut unconfirmed = FuturesUnordered::new();
        for _ in 0..orders {
            let events = (0..events_each).map(|_| (QUEUES[1], &event));
            for (queue, body) in [(QUEUES[0], &request)].into_iter().chain(events) {
                let properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
                let options = BasicPublishOptions::default();
                let exchange = "".into();
                let published =
                    self.channel.basic_publish(exchange, queue.into(), options, body, properties);
                unconfirmed.push(published.await?);
            }
            while unconfirmed.len() >= WINDOW {
                unconfirmed.next().await.context("nothing is unconfirmed")??;
            }
        }
        while let Some(confirmed) = unconfirmed.next().await {
            confirmed?;
        }
        Ok(())
    }

    pub(crate) async fn remove(self) -> Result<()> {
        for queue in QUEUES {
            let options = QueueDeleteOptions::default();
            self.channel.queue_delete(queue.into(), options).await?;
        }
        self.connection.close(200, "OK".into()).await?;
        Ok(self.consuming.close(200, "OK".into()).await?)
    }
}

async fn receive(mut deliveries: Consumer) {
    let mut count = 0;
    while let Some(Ok(delivery)) = deliveries.next().await {
        count += 1;
        let multiple = BasicAckOptions { multiple: true };
        if count % ACK_EVERY == 0 && delivery.acker.ack(multiple).await.is_err() {
            return;
        }
    }
}
