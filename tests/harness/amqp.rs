//! A shop that uses AMQP directly, through the client library `lapin`.

use std::time::Duration;

use broker::{Exchange, Namespace, exchange_name};
use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{
    BasicConsumeOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions,
    QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer};
use serde_json::Value;
use tokio::time::timeout;

use crate::environment::TestEnvironment;

/// Far longer than a message takes to arrive.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// A connection with one channel. One task uses it, so that publishes are confirmed one by one.
pub struct Amqp {
    namespace: Namespace,
    connection: Connection,
    channel: Channel,
}

/// A queue that this connection consumes.
pub struct Inbox {
    pub name: String,
    deliveries: Consumer,
}

impl Amqp {
    pub async fn connect(environment: &TestEnvironment) -> Self {
        Self::connect_to(environment, &environment.amqp_text).await
    }

    /// Connects as the user of this URL.
    pub async fn connect_to(environment: &TestEnvironment, amqp_text: &str) -> Self {
        let named = ConnectionProperties::default().with_connection_name("test shop".into());
        let connection = Connection::connect(amqp_text, named).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        let confirms = ConfirmSelectOptions::default();
        channel.confirm_select(confirms).await.unwrap();
        Self { namespace: environment.namespace.clone(), connection, channel }
    }

    /// A channel for an operation that the broker may refuse, which closes the channel.
    pub async fn channel(&self) -> Channel {
        let channel = self.connection.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        channel
    }

    /// The name of a queue within the namespace, such as `orders.parked`.
    pub fn qualified_name(&self, queue: &str) -> String {
        format!("{}.{queue}", self.namespace)
    }

    /// Publishes a command and waits for the confirm.
    pub async fn command(&self, routing_key: &str, body: &[u8], properties: BasicProperties) {
        let commands = exchange_name(&self.namespace, Exchange::Commands);
        self.publish(&commands, routing_key, body, properties).await;
    }

    /// Publishes and waits for the confirm.
    pub async fn publish(
        &self,
        exchange: &str,
        routing_key: &str,
        body: &[u8],
        properties: BasicProperties,
    ) {
        let options = BasicPublishOptions::default();
        let exchange = exchange.into();
        let routing_key = routing_key.into();
        let published =
            self.channel.basic_publish(exchange, routing_key, options, body, properties);
        let confirm = published.await.unwrap().await.unwrap();
        assert_eq!(confirm, Confirmation::Ack(None));
    }

    /// An exclusive queue, which the broker deletes with the connection.
    pub async fn private_queue(&self) -> Inbox {
        let options = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
        self.declare("", options).await
    }

    /// The pseudo queue `amq.rabbitmq.reply-to`.
    pub async fn direct_reply_to(&self) -> Inbox {
        self.consume("amq.rabbitmq.reply-to".to_owned()).await
    }

    /// An exclusive queue, bound to the events that match `pattern`.
    pub async fn events(&self, pattern: &str) -> Inbox {
        let inbox = self.private_queue().await;
        self.bind(&inbox.name, pattern).await;
        inbox
    }

    /// A durable queue without a consumer, bound to the events that match `pattern`.
    pub async fn durable_queue(&self, name: &str, pattern: &str) {
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        let declare = self.channel.queue_declare(name.into(), options, FieldTable::default());
        declare.await.unwrap();
        self.bind(name, pattern).await;
    }

    /// A quorum queue without a consumer, bound to the events that match `pattern`.
    pub async fn quorum_queue(&self, name: &str, pattern: &str) {
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        self.channel.queue_declare(name.into(), options, arguments).await.unwrap();
        self.bind(name, pattern).await;
    }

    /// A queue that refuses every event that matches `pattern`.
    pub async fn refusing_queue(&self, name: &str, pattern: &str) {
        let mut arguments = FieldTable::default();
        arguments.insert("x-max-length".into(), AMQPValue::LongInt(0));
        arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        self.channel.queue_declare(name.into(), options, arguments).await.unwrap();
        self.bind(name, pattern).await;
    }

    /// A durable queue that this connection consumes, bound to the events that match `pattern`.
    pub async fn consume_durable_queue(&self, name: &str, pattern: &str) -> Inbox {
        self.durable_queue(name, pattern).await;
        self.consume(name.to_owned()).await
    }

    /// Reads every message of a queue and leaves them there.
    pub async fn peek_all(&self, queue: &str) -> Vec<Delivery> {
        let channel = self.connection.create_channel().await.unwrap();
        let found = get_all(&channel, queue, false).await;
        // Closing the channel requeues unacknowledged messages.
        channel.close(200, "OK".into()).await.unwrap();
        found
    }

    /// Removes every message of a queue.
    pub async fn take_all(&self, queue: &str) -> Vec<Delivery> {
        get_all(&self.channel, queue, true).await
    }

    pub async fn delete(&self, queue: &str) {
        let options = QueueDeleteOptions::default();
        self.channel.queue_delete(queue.into(), options).await.unwrap();
    }

    pub async fn close(self) {
        self.connection.close(200, "OK".into()).await.unwrap();
    }

    async fn bind(&self, queue: &str, pattern: &str) {
        let events = exchange_name(&self.namespace, Exchange::Events);
        let options = QueueBindOptions::default();
        let queue = queue.into();
        let events = events.into();
        let pattern = pattern.into();
        let bind = self.channel.queue_bind(queue, events, pattern, options, FieldTable::default());
        bind.await.unwrap();
    }

    async fn declare(&self, name: &str, options: QueueDeclareOptions) -> Inbox {
        let declare = self.channel.queue_declare(name.into(), options, FieldTable::default());
        let name = declare.await.unwrap().name().to_string();
        self.consume(name).await
    }

    async fn consume(&self, name: String) -> Inbox {
        let no_ack = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let queue = name.as_str().into();
        let consume = self.channel.basic_consume(queue, "".into(), no_ack, FieldTable::default());
        Inbox { deliveries: consume.await.unwrap(), name }
    }
}

async fn get_all(channel: &Channel, queue: &str, no_ack: bool) -> Vec<Delivery> {
    let mut found = Vec::new();
    let get = || channel.basic_get(queue.into(), BasicGetOptions { no_ack });
    while let Some(message) = get().await.unwrap() {
        found.push(message.delivery);
    }
    found
}

impl Inbox {
    /// Waits for the next message.
    ///
    /// # Panics
    /// When none arrives in time.
    pub async fn next(&mut self) -> Delivery {
        let next = timeout(WAIT_MAX, self.deliveries.next()).await;
        let next =
            next.unwrap_or_else(|_| panic!("timed out waiting for a message in {}", self.name));
        next.unwrap().unwrap()
    }

    /// The next message, read as JSON.
    pub async fn next_json(&mut self) -> Value {
        serde_json::from_slice(&self.next().await.data).unwrap()
    }
}

pub fn header(delivery: &Delivery, name: &str) -> Option<String> {
    let headers = delivery.properties.headers().as_ref()?;
    match headers.inner().get(name)? {
        AMQPValue::LongString(text) => Some(text.to_string()),
        other => panic!("the header {name} is {other:?}"),
    }
}
