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

    /// Each with the rights of its part.
    pub(super) async fn make(&self, servers: &Servers, world: &World) {
        world.add_secret(&self.password);
        let file = std::env::temp_dir().join(format!("wxpay-{}", Uuid::new_v4().simple()));
        std::fs::write(&file, &self.password).unwrap();
        let mch_id = world.shop().mch_id;
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

    /// A queue of the shop's own, bound to what it may hear.
    pub(super) async fn events(&self, amqp: &Amqp, pattern: &str) -> Inbox {
        let queue = format!("shop.shop-a.{}", Uuid::new_v4().simple());
        amqp.own_queue(&queue, pattern).await
    }

    /// What nobody of them may do.
    pub(super) async fn refuse_the_rest(&self, world: &World) {
        let ours = |name: &str| format!("{}.{name}", world.environment.namespace);
        let queues = ["orders", "notifications", "queries", "orders.parked", "unrouted"].map(ours);
        let ingress = Amqp::connect_to(&world.environment, &self.text("ingress")).await;
        let shop = Amqp::connect_to(&world.environment, &self.text("shop-a")).await;
        let worker = Amqp::connect_to(&world.environment, &self.text("worker")).await;
        for amqp in [&ingress, &shop] {
            for queue in &queues {
                nothing_of_a_queue(amqp, queue).await;
            }
            for exchange in ["commands", "notify", "events", "unrouted"].map(ours) {
                nothing_of_an_exchange(amqp, &exchange).await;
            }
            for exchange in [ours("events"), "amq.topic".to_owned(), String::new()] {
                publishes(amqp, &exchange, &queues[0], None, ACCESS_REFUSED).await;
            }
            bind(amqp, &queues[0], &ours("commands"), "order.create").await;
        }
        publishes(&shop, &ours("notify"), "payment", None, ACCESS_REFUSED).await;
        publishes(&ingress, &ours("commands"), "x", Some("shop-a"), PRECONDITION_FAILED).await;
        publishes(&shop, &ours("commands"), "x", Some("ingress"), PRECONDITION_FAILED).await;

        let own = format!("shop.shop-a.{}", Uuid::new_v4().simple());
        shop.own_queue(&own, &format!("order.paid.{}", world.shop().mch_id)).await;
        let other = world.hmac_shop().mch_id;
        let mch_id = world.shop().mch_id;
        for pattern in [
            "#".to_owned(),
            "*.*.*".to_owned(),
            "order.#".to_owned(),
            format!("*.*.{other}"),
            format!("order.paid.{mch_id}.#"),
            format!("order.paid.{mch_id}0"),
        ] {
            bind(&shop, &own, &ours("events"), &pattern).await;
        }
        bind(&shop, &own, &ours("notify"), "payment").await;
        declares(&shop, "shop.shop-b.events").await;
        declares(&shop, "").await;
        declares(&ingress, "").await;
        // The worker owns its namespace and nothing beside it.
        declares(&worker, "other.orders").await;
        nothing_of_a_queue(&worker, &own).await;
        publishes(&worker, "amq.topic", "x", None, ACCESS_REFUSED).await;
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

async fn nothing_of_a_queue(amqp: &Amqp, queue: &str) {
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
    declares(amqp, queue).await;
}

/// It is refused to.
async fn declares(amqp: &Amqp, queue: &str) {
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let channel = amqp.channel().await;
    let declared = channel.queue_declare(queue.into(), options, FieldTable::default()).await;
    assert_eq!(code(declared), ACCESS_REFUSED, "declare {queue}");
}

async fn nothing_of_an_exchange(amqp: &Amqp, exchange: &str) {
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

/// It is refused to.
async fn bind(amqp: &Amqp, queue: &str, exchange: &str, pattern: &str) {
    let channel = amqp.channel().await;
    let options = QueueBindOptions::default();
    let none = FieldTable::default();
    let queue = queue.into();
    let exchange = exchange.into();
    let bound = channel.queue_bind(queue, exchange, pattern.into(), options, none).await;
    assert_eq!(code(bound), ACCESS_REFUSED, "bind {pattern}");
}

/// It is refused to, with this code.
async fn publishes(amqp: &Amqp, exchange: &str, key: &str, user_id: Option<&str>, refused: u16) {
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
