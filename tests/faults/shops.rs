//! Shops that create orders. The seed decides how each order is created and how it ends.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use fastrand::Rng;
use futures_util::{StreamExt, stream as streams};
use harness::Shop;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Confirmation, Connection, ConnectionProperties};
use reqwest::StatusCode;
use serde_json::{Value, json};
use simulator::{Api, Fault, FaultPlan, PerMille, SeededFaults};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use uuid::Uuid;

use crate::chance::{Stream, stream, weighted};
use crate::payers::ENDINGS;
use crate::system::{INGRESSES, System};

/// Orders in progress at the same time, beside those of a burst.
const ORDERS_IN_PROGRESS: usize = 200;
/// The pause between two attempts of a shop that had no answer.
const RETRY_INTERVAL: Duration = Duration::from_millis(700);
/// The time after which a shop or a payer gives up on an order.
const GIVE_UP_AFTER: Duration = Duration::from_secs(90);

/// Longer than the worker's call timeout of eight seconds.
const SLOW_ANSWER_MS: u64 = 9_000;

/// How many orders the shops create.
#[derive(Clone, Copy)]
pub(crate) struct OrderCount {
    pub(crate) all: u32,
    /// How many of them come at once, in the middle of the others.
    pub(crate) burst: u32,
}

pub(crate) struct Shops<'a> {
    pub(crate) system: &'a System,
    seed: u64,
    pub(crate) orders: OrderCount,
    /// The orders that were answered with 2xx or confirmed by the broker.
    accepted: Mutex<BTreeMap<(String, String), Value>>,
    /// Orders about which a message was sent that is not stored under their number.
    pub(crate) told_without_number: Mutex<BTreeSet<String>>,
    /// Orders about which forged messages were sent.
    pub(crate) forged: Mutex<BTreeSet<String>>,
    /// How often shops, payers and forgers did what, such as giving up.
    pub(crate) actions: Mutex<BTreeMap<String, u32>>,
    /// Unreadable messages. In the end they must be parked, unless the broker lost them.
    pub(crate) garbage: AtomicU32,
}

impl OrderCount {
    /// When an order is created, after the start.
    fn due(self, at: u32, duration: Duration) -> Duration {
        let spread = self.all - self.burst;
        let before_burst = spread / 2;
        let rank = match at {
            _ if at < before_burst => at,
            _ if at < before_burst + self.burst => before_burst,
            _ => at - self.burst,
        };
        duration.mul_f64(f64::from(rank) / f64::from(spread.max(1)))
    }
}

impl<'a> Shops<'a> {
    pub(crate) fn new(system: &'a System, seed: u64, orders: OrderCount) -> Self {
        let seeded = SeededFaults {
            seed,
            per_mille: PerMille {
                unifiedorder: 120,
                orderquery: 120,
                closeorder: 120,
                notification: 150,
            },
        };
        let plan = FaultPlan { seeded: Some(seeded), ..FaultPlan::default() };
        system.simulator.set_faults(plan).unwrap();
        Self {
            system,
            seed,
            orders,
            accepted: Mutex::default(),
            told_without_number: Mutex::default(),
            forged: Mutex::default(),
            actions: Mutex::default(),
            garbage: AtomicU32::new(0),
        }
    }

    pub(crate) fn accepted(&self) -> BTreeSet<(String, String)> {
        self.accepted.lock().unwrap().keys().cloned().collect()
    }

    /// Creates and pays every order: those beside the burst are spread evenly over `duration`.
    pub(crate) async fn order_and_pay(&self, duration: Duration) {
        let start = Instant::now();
        let mut rng = stream(self.seed, Stream::Orders);
        let orders: Vec<_> = (0..self.orders.all).map(|at| (at, rng.fork())).collect();
        let in_progress = ORDERS_IN_PROGRESS + self.orders.burst as usize;
        streams::iter(orders)
            .for_each_concurrent(in_progress, |(at, rng)| async move {
                sleep_until(start + self.orders.due(at, duration)).await;
                let played = timeout(GIVE_UP_AFTER * 2, self.play_order(at, rng)).await;
                if played.is_err() {
                    self.count("order timed out");
                }
            })
            .await;
    }

    pub(crate) fn count(&self, what: impl Into<String>) {
        *self.actions.lock().unwrap().entry(what.into()).or_default() += 1;
    }

    /// Creates one order, pays it and plays its ending.
    async fn play_order(&self, at: u32, mut rng: Rng) {
        let merchant = &self.system.merchants[rng.usize(0..self.system.merchants.len())];
        let shop = Shop::of(merchant);
        let number = format!("faults{:x}n{at}", self.seed);
        let order = shop.order(&number, rng.i64(1..100_000));
        if rng.u32(0..50) == 0 {
            self.count("an answer slower than the call timeout");
            let api = [Api::Unifiedorder, Api::Orderquery][rng.usize(0..2)];
            self.inject_fault(api, &number, Fault::DelayMs(SLOW_ANSWER_MS), 1);
        }
        match rng.u32(0..100) {
            0..4 => {
                self.count("one order twice at once");
                tokio::join!(self.post(&order, rng.fork()), self.post(&order, rng.fork()));
            }
            4..7 => {
                self.count("two orders under one number");
                let mut other = order.clone();
                other["total_fee"] = json!(order["total_fee"].as_i64().unwrap() + 1);
                tokio::join!(self.post(&order, rng.fork()), self.post(&other, rng.fork()));
            }
            7..9 => {
                self.publish_garbage(&mut rng).await;
                self.post(&order, rng.fork()).await;
            }
            9..20 => self.publish(&order).await,
            _ => self.post(&order, rng.fork()).await,
        }
        let ending = weighted(&mut rng, &ENDINGS);
        if !self.reaches_wechat(&shop, &number).await {
            self.count("never reached WeChat");
            return;
        }
        sleep(Duration::from_millis(rng.u64(0..1500))).await;
        self.count(format!("{ending:?}"));
        self.play(ending, merchant, &number, rng).await;
    }

    /// Orders over HTTP and repeats the request until there is an answer.
    async fn post(&self, order: &Value, mut rng: Rng) {
        let wait = rng.bool();
        let deadline = Instant::now() + GIVE_UP_AFTER;
        while Instant::now() < deadline {
            let status = self.try_post(order, wait, rng.usize(0..INGRESSES)).await;
            match status {
                Some(status) if status.is_success() => return self.accept(order),
                Some(StatusCode::CONFLICT) => return self.count("answered with a conflict"),
                Some(StatusCode::UNPROCESSABLE_ENTITY) => return self.count("refused"),
                Some(status) => self.count(format!("shop answered {}", status.as_u16())),
                None => self.count("shop without an answer"),
            }
            sleep(RETRY_INTERVAL).await;
        }
        self.count("shop gave up");
    }

    async fn try_post(&self, order: &Value, wait: bool, ingress: usize) -> Option<StatusCode> {
        let address = self.system.links.shop_to_ingress[ingress].address;
        let url = format!("http://{address}/v1/orders");
        let request = self.system.http.post(url).header("content-type", "application/json");
        let request = if wait { request.header("prefer", "wait=5") } else { request };
        Some(request.body(order.to_string()).send().await.ok()?.status())
    }

    fn accept(&self, order: &Value) {
        let text = |name: &str| order[name].as_str().unwrap().to_owned();
        let key = (text("mch_id"), text("out_trade_no"));
        self.accepted.lock().unwrap().entry(key).or_insert_with(|| order.clone());
    }

    /// Orders over AMQP and repeats the message until the broker confirms it.
    async fn publish(&self, order: &Value) {
        let deadline = Instant::now() + GIVE_UP_AFTER;
        while Instant::now() < deadline {
            let sent = timeout(Duration::from_secs(5), self.try_publish(order.to_string())).await;
            if matches!(sent, Ok(Ok(true))) {
                return self.accept(order);
            }
            self.count("shop without a confirm");
            sleep(RETRY_INTERVAL).await;
        }
        self.count("shop gave up");
    }

    async fn try_publish(&self, body: String) -> lapin::Result<bool> {
        let url = harness::environment::with_address(
            self.system.servers.url(harness::servers::Server::RabbitMq),
            self.system.links.shop_to_rabbit.address,
        );
        let properties = ConnectionProperties::default();
        let connection = Connection::connect(url.as_str(), properties).await?;
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        let properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_message_id(Uuid::now_v7().to_string().into())
            .with_delivery_mode(2);
        let exchange = format!("{}.commands", self.system.namespace);
        let options = BasicPublishOptions::default();
        let confirm = channel
            .basic_publish(
                exchange.as_str().into(),
                "order.create".into(),
                options,
                body.as_bytes(),
                properties,
            )
            .await?
            .await?;
        let _ = connection.close(200, "OK".into()).await;
        Ok(matches!(confirm, Confirmation::Ack(_)))
    }

    /// Publishes an unreadable message, which the worker parks.
    async fn publish_garbage(&self, rng: &mut Rng) {
        let garbage = ["", "{", "null", "[]", "{\"mch_id\":7}", "\u{0}\u{1}", "<xml></xml>"];
        let body = garbage[rng.usize(0..garbage.len())].to_owned();
        let sent = timeout(Duration::from_secs(5), self.try_publish(body)).await;
        if matches!(sent, Ok(Ok(true))) {
            self.count("garbage on the command queue");
            self.garbage.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) async fn close(&self, mch_id: &str, number: &str, mut rng: Rng) {
        let deadline = Instant::now() + GIVE_UP_AFTER;
        while Instant::now() < deadline {
            let address = self.system.links.shop_to_ingress[rng.usize(0..INGRESSES)].address;
            let url = format!("http://{address}/v1/orders/{mch_id}/{number}/close");
            let answer = self.system.http.post(url).send().await;
            match answer.map(|answer| answer.status()) {
                Ok(status) if status.is_success() || status == StatusCode::CONFLICT => return,
                _ => sleep(RETRY_INTERVAL).await,
            }
        }
        self.count("shop gave up closing");
    }

    /// Waits until the shop sees its order paid; `false` when it gives up.
    pub(crate) async fn is_paid(&self, mch_id: &str, number: &str) -> bool {
        let deadline = Instant::now() + GIVE_UP_AFTER;
        while Instant::now() < deadline {
            let address = self.system.links.shop_to_ingress[0].address;
            let url = format!("http://{address}/v1/orders/{mch_id}/{number}");
            if let Ok(answer) = self.system.http.get(url).send().await
                && let Ok(body) = answer.bytes().await
                && let Ok(view) = serde_json::from_slice::<Value>(&body)
                && view["state"] == "paid"
            {
                return true;
            }
            sleep(RETRY_INTERVAL).await;
        }
        false
    }

    /// Waits until WeChat knows the order; `false` when the payer gives up.
    async fn reaches_wechat(&self, shop: &Shop, number: &str) -> bool {
        let deadline = Instant::now() + GIVE_UP_AFTER;
        while Instant::now() < deadline {
            let order = self.system.simulator.order(&shop.mch_id, number);
            if order.is_some_and(|order| !order.prepay_ids.is_empty()) {
                return true;
            }
            sleep(Duration::from_millis(100)).await;
        }
        false
    }

    /// Repeats accepted orders that the system has lost, as shops do. Returns how many.
    pub(crate) async fn repeat(&self, numbers: &BTreeSet<(String, String)>) -> usize {
        let orders: Vec<Value> = {
            let accepted = self.accepted.lock().unwrap();
            numbers.iter().filter_map(|key| accepted.get(key).cloned()).collect()
        };
        for order in &orders {
            self.post(order, Rng::with_seed(self.seed)).await;
        }
        orders.len()
    }
}
