//! The users of `deploy/rabbitmq/permissions.sh`.

use std::path::Path;
use std::process::Command;

use broker::AmqpUrl;
use harness::World;
use harness::amqp::{Amqp, Inbox};
use harness::environment::with_user;
use harness::servers::Servers;
use lapin::message::Delivery;
use lapin::options::{
    BasicConsumeOptions, BasicGetOptions, BasicPublishOptions, ExchangeBindOptions,
    ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions,
    QueueDeleteOptions, QueuePurgeOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, ErrorKind, ExchangeKind};
use reqwest::Url;
use uuid::Uuid;

const ACCESS_REFUSED: u16 = 403;
const PRECONDITION_FAILED: u16 = 406;

pub(super) struct Users {
    broker: Url,
    password: String,
}

impl Users {
    pub(super) fn new(broker: Url) -> Self {
        Self { broker, password: Uuid::new_v4().simple().to_string() }
    }

    /// Creates each user with its permissions.
    pub(super) async fn make(&self, servers: &Servers, world: &World) {
        world.add_secret(&self.password);
        let file = std::env::temp_dir().join(format!("wxpay-{}", Uuid::new_v4().simple()));
        std::fs::write(&file, &self.password).unwrap();
        let mch_id = world.md5_shop().mch_id;
        for part in [&["ingress", "ingress"][..], &["worker", "worker"], &["shop", "shop-a"]] {
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
            let mut script = Command::new(root.join("deploy/rabbitmq/permissions.sh"));
            script.args(part).arg(&file).args((part[0] == "shop").then_some(&mch_id));
            script.env("RABBITMQCTL", servers.rabbitmqctl_path());
            script.env("WXPAY_NAMESPACE", world.environment.namespace.to_string());
            let output = tokio::task::spawn_blocking(move || script.output()).await;
            let output = output.unwrap().unwrap();
            assert!(output.status.success(), "{part:?}: {output:?}");
        }
        std::fs::remove_file(file).unwrap();
    }

    pub(super) fn text(&self, user: &str) -> String {
        with_user(self.broker.clone(), user, &self.password).to_string()
    }

    pub(super) fn url(&self, user: &str) -> AmqpUrl {
        AmqpUrl::parse(&self.text(user)).unwrap()
    }

    /// A queue of the shop's own, bound to the events that it may receive.
    pub(super) async fn events(&self, amqp: &Amqp, pattern: &str) -> Inbox {
        let queue = format!("shop.shop-a.{}", Uuid::new_v4().simple());
        amqp.consume_durable_queue(&queue, pattern).await
    }

    /// Expects that every user is refused what it does not need.
    pub(super) async fn expect_rest_refused(&self, world: &World) {
        let qualified = |name: &str| format!("{}.{name}", world.environment.namespace);
        let queues =
            ["orders", "notifications", "queries", "orders.parked", "unrouted"].map(qualified);
        let ingress = Amqp::connect_to(&world.environment, &self.text("ingress")).await;
        let shop = Amqp::connect_to(&world.environment, &self.text("shop-a")).await;
        let worker = Amqp::connect_to(&world.environment, &self.text("worker")).await;
        for amqp in [&ingress, &shop] {
            for queue in &queues {
                expect_queue_refused(amqp, queue).await;
            }
            for exchange in ["commands", "notify", "events", "unrouted"].map(qualified) {
                expect_exchange_refused(amqp, &exchange).await;
            }
            for exchange in [qualified("events"), "amq.topic".to_owned(), String::new()] {
                expect_publish_refused(amqp, &exchange, &queues[0], None, ACCESS_REFUSED).await;
            }
            expect_bind_refused(amqp, &queues[0], &qualified("commands"), "order.create").await;
        }
        expect_publish_refused(&shop, &qualified("notify"), "payment", None, ACCESS_REFUSED).await;
        expect_publish_refused(
            &ingress,
            &qualified("commands"),
            "x",
            Some("shop-a"),
            PRECONDITION_FAILED,
        )
        .await;
        expect_publish_refused(
            &shop,
            &qualified("commands"),
            "x",
            Some("ingress"),
            PRECONDITION_FAILED,
        )
        .await;

        let own = format!("shop.shop-a.{}", Uuid::new_v4().simple());
        shop.consume_durable_queue(&own, &format!("order.paid.{}", world.md5_shop().mch_id)).await;
        let other = world.hmac_shop().mch_id;
        let mch_id = world.md5_shop().mch_id;
        for pattern in [
            "#".to_owned(),
            "*.*.*".to_owned(),
            "order.#".to_owned(),
            format!("*.*.{other}"),
            format!("order.paid.{mch_id}.#"),
            format!("order.paid.{mch_id}0"),
        ] {
            expect_bind_refused(&shop, &own, &qualified("events"), &pattern).await;
        }
        expect_bind_refused(&shop, &own, &qualified("notify"), "payment").await;
        expect_declare_refused(&shop, "shop.shop-b.events").await;
        expect_declare_refused(&shop, "").await;
        expect_declare_refused(&ingress, "").await;
        // The worker may use its own namespace only.
        expect_declare_refused(&worker, "other.orders").await;
        expect_queue_refused(&worker, &own).await;
        expect_publish_refused(&worker, "amq.topic", "x", None, ACCESS_REFUSED).await;
        shop.delete(&own).await;
        for amqp in [ingress, shop, worker] {
            amqp.close().await;
        }
    }
}

fn code<T: std::fmt::Debug>(done: lapin::Result<T>) -> u16 {
    let error = done.expect_err("refused");
    match error.kind() {
        ErrorKind::ProtocolError(error) => error.get_id(),
        other => panic!("{other:?}"),
    }
}

async fn expect_queue_refused(amqp: &Amqp, queue: &str) {
    let channel = || amqp.channel();
    let name = || queue.into();
    let get = channel().await.basic_get(name(), BasicGetOptions::default()).await;
    assert_eq!(code(get), ACCESS_REFUSED, "get {queue}");
    let consume = BasicConsumeOptions::default();
    let none = FieldTable::default();
    let consumed = channel().await.basic_consume(name(), "".into(), consume, none).await;
    assert_eq!(code(consumed), ACCESS_REFUSED, "consume {queue}");
    let purged = channel().await.queue_purge(name(), QueuePurgeOptions::default()).await;
    assert_eq!(code(purged), ACCESS_REFUSED, "purge {queue}");
    let deleted = channel().await.queue_delete(name(), QueueDeleteOptions::default()).await;
    assert_eq!(code(deleted), ACCESS_REFUSED, "delete {queue}");
    expect_declare_refused(amqp, queue).await;
}

async fn expect_declare_refused(amqp: &Amqp, queue: &str) {
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let channel = amqp.channel().await;
    let declared = channel.queue_declare(queue.into(), options, FieldTable::default()).await;
    assert_eq!(code(declared), ACCESS_REFUSED, "declare {queue}");
}

async fn expect_exchange_refused(amqp: &Amqp, exchange: &str) {
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let none = FieldTable::default;
    let channel = amqp.channel().await;
    let kind = ExchangeKind::Fanout;
    let declared = channel.exchange_declare(exchange.into(), kind, options, none()).await;
    assert_eq!(code(declared), ACCESS_REFUSED, "declare {exchange}");
    let channel = amqp.channel().await;
    let deleted = channel.exchange_delete(exchange.into(), ExchangeDeleteOptions::default()).await;
    assert_eq!(code(deleted), ACCESS_REFUSED, "delete {exchange}");
    let channel = amqp.channel().await;
    let to = "amq.fanout".into();
    let options = ExchangeBindOptions::default();
    let bound = channel.exchange_bind(to, exchange.into(), "#".into(), options, none()).await;
    assert_eq!(code(bound), ACCESS_REFUSED, "bind to {exchange}");
}

async fn expect_bind_refused(amqp: &Amqp, queue: &str, exchange: &str, pattern: &str) {
    let channel = amqp.channel().await;
    let options = QueueBindOptions::default();
    let none = FieldTable::default();
    let queue = queue.into();
    let exchange = exchange.into();
    let bound = channel.queue_bind(queue, exchange, pattern.into(), options, none).await;
    assert_eq!(code(bound), ACCESS_REFUSED, "bind {pattern}");
}

/// Expects a refused publish with this code.
async fn expect_publish_refused(
    amqp: &Amqp,
    exchange: &str,
    key: &str,
    user_id: Option<&str>,
    refused: u16,
) {
    let mut properties = BasicProperties::default();
    if let Some(user_id) = user_id {
        properties = properties.with_user_id(user_id.into());
    }
    let channel = amqp.channel().await;
    let published = confirmed(&channel, exchange, key, properties).await;
    assert_eq!(code(published), refused, "publish to {exchange:?}");
}

async fn confirmed(
    channel: &Channel,
    exchange: &str,
    key: &str,
    properties: BasicProperties,
) -> lapin::Result<Option<Delivery>> {
    let options = BasicPublishOptions::default();
    let publish = channel.basic_publish(exchange.into(), key.into(), options, b"x", properties);
    let confirm = publish.await?.await?;
    Ok(confirm.take_message().map(|message| message.delivery))
}
