//! Shops that order, and what becomes of each order: a story of its own, drawn from the seed.

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

/// Orders whose stories are told at the same time.
const AT_ONCE: usize = 200;
/// Between two tries of a shop that had no answer.
const TRY_AGAIN: Duration = Duration::from_millis(700);
/// A shop gives up on an order, and a payer on a shop, after so long.
const PATIENCE: Duration = Duration::from_secs(90);

/// A call waits eight seconds.
const BEYOND_PATIENCE_MS: u64 = 9_000;

pub(crate) struct Shops<'a> {
    pub(crate) system: &'a System,
    seed: u64,
    pub(crate) orders: u32,
    /// Numbers that were answered with 2xx or confirmed by the broker, and what was ordered.
    accepted: Mutex<BTreeMap<(String, String), Value>>,
    /// Strange things that shops, payers and forgers did.
    pub(crate) oddities: Mutex<BTreeMap<String, u32>>,
    /// Messages that must be parked in the end, if the broker keeps them.
    pub(crate) garbage: AtomicU32,
}

impl<'a> Shops<'a> {
    pub(crate) fn new(system: &'a System, seed: u64, orders: u32) -> Self {
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
            oddities: Mutex::default(),
            garbage: AtomicU32::new(0),
        }
    }

    pub(crate) fn accepted(&self) -> BTreeSet<(String, String)> {
        self.accepted.lock().unwrap().keys().cloned().collect()
    }

    /// All stories, begun evenly over `lasting`.
    pub(crate) async fn order_and_pay(&self, lasting: Duration) {
        let begun = Instant::now();
        let mut rng = stream(self.seed, Stream::Orders);
        let stories = (0..self.orders).map(|at| (at, rng.fork()));
        let stories: Vec<_> = stories.collect();
        streams::iter(stories)
            .for_each_concurrent(AT_ONCE, |(at, rng)| async move {
                sleep_until(begun + lasting.mul_f64(f64::from(at) / f64::from(self.orders))).await;
                let told = timeout(PATIENCE * 2, self.story(at, rng)).await;
                if told.is_err() {
                    self.note("story broken off");
                }
            })
            .await;
    }

    pub(crate) fn note(&self, what: impl Into<String>) {
        *self.oddities.lock().unwrap().entry(what.into()).or_default() += 1;
    }

    async fn story(&self, at: u32, mut rng: Rng) {
        let merchant = &self.system.merchants[rng.usize(0..self.system.merchants.len())];
        let shop = Shop::of(merchant);
        let number = format!("faults{:x}n{at}", self.seed);
        let order = shop.order(&number, rng.i64(1..100_000));
        if rng.u32(0..50) == 0 {
            self.note("an answer slower than our timeout");
            let api = [Api::Unifiedorder, Api::Orderquery][rng.usize(0..2)];
            self.inject_fault(api, &number, Fault::DelayMs(BEYOND_PATIENCE_MS), 1);
        }
        match rng.u32(0..100) {
            0..4 => {
                self.note("one order twice at once");
                tokio::join!(self.post(&order, rng.fork()), self.post(&order, rng.fork()));
            }
            4..7 => {
                self.note("two orders under one number");
                let mut other = order.clone();
                other["total_fee"] = json!(order["total_fee"].as_i64().unwrap() + 1);
                tokio::join!(self.post(&order, rng.fork()), self.post(&other, rng.fork()));
            }
            7..9 => {
                self.garbage_on_the_queue(&mut rng).await;
                self.post(&order, rng.fork()).await;
            }
            9..20 => self.publish(&order).await,
            _ => self.post(&order, rng.fork()).await,
        }
        let ending = weighted(&mut rng, &ENDINGS);
        if !self.at_wechat(&shop, &number).await {
            self.note("never came to WeChat");
            return;
        }
        sleep(Duration::from_millis(rng.u64(0..1500))).await;
        self.note(format!("{ending:?}"));
        self.end(ending, merchant, &number, rng).await;
    }

    /// Orders over HTTP as a shop should: the same number until there is an answer.
    async fn post(&self, order: &Value, mut rng: Rng) {
        let wait = rng.bool();
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let status = self.try_post(order, wait, rng.usize(0..INGRESSES)).await;
            match status {
                Some(status) if status.is_success() => return self.accept(order),
                Some(StatusCode::CONFLICT) => return self.note("declined as a conflict"),
                Some(StatusCode::UNPROCESSABLE_ENTITY) => return self.note("refused"),
                Some(status) => self.note(format!("shop answered {}", status.as_u16())),
                None => self.note("shop without an answer"),
            }
            sleep(TRY_AGAIN).await;
        }
        self.note("shop gave up");
    }

    async fn try_post(&self, order: &Value, wait: bool, ingress: usize) -> Option<StatusCode> {
        let address = self.system.wires.shop_to_ingress[ingress].address;
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

    /// Orders over AMQP, again until the broker has confirmed.
    async fn publish(&self, order: &Value) {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let sent = timeout(Duration::from_secs(5), self.try_publish(order.to_string())).await;
            if matches!(sent, Ok(Ok(true))) {
                return self.accept(order);
            }
            self.note("shop without a confirm");
            sleep(TRY_AGAIN).await;
        }
        self.note("shop gave up");
    }

    async fn try_publish(&self, body: String) -> lapin::Result<bool> {
        let url = harness::environment::with_address(
            self.system.servers.url(harness::servers::Server::RabbitMq),
            self.system.wires.shop_to_rabbit.address,
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

    /// Nobody can read it: it is parked, and disturbs nobody.
    async fn garbage_on_the_queue(&self, rng: &mut Rng) {
        let garbage = ["", "{", "null", "[]", "{\"mch_id\":7}", "\u{0}\u{1}", "<xml></xml>"];
        let body = garbage[rng.usize(0..garbage.len())].to_owned();
        let sent = timeout(Duration::from_secs(5), self.try_publish(body)).await;
        if matches!(sent, Ok(Ok(true))) {
            self.note("garbage on the command queue");
            self.garbage.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) async fn close(&self, mch_id: &str, number: &str, mut rng: Rng) {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let address = self.system.wires.shop_to_ingress[rng.usize(0..INGRESSES)].address;
            let url = format!("http://{address}/v1/orders/{mch_id}/{number}/close");
            let answer = self.system.http.post(url).send().await;
            match answer.map(|answer| answer.status()) {
                Ok(status) if status.is_success() || status == StatusCode::CONFLICT => return,
                _ => sleep(TRY_AGAIN).await,
            }
        }
        self.note("shop gave up closing");
    }

    /// Whether a shop comes to see its order paid.
    pub(crate) async fn is_paid(&self, mch_id: &str, number: &str) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let address = self.system.wires.shop_to_ingress[0].address;
            let url = format!("http://{address}/v1/orders/{mch_id}/{number}");
            if let Ok(answer) = self.system.http.get(url).send().await
                && let Ok(body) = answer.bytes().await
                && let Ok(view) = serde_json::from_slice::<Value>(&body)
                && view["state"] == "paid"
            {
                return true;
            }
            sleep(TRY_AGAIN).await;
        }
        false
    }

    /// Whether WeChat comes to know the order. A shop whose accepted order is unknown to us after
    /// a while repeats it.
    async fn at_wechat(&self, shop: &Shop, number: &str) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let order = self.system.simulator.order(&shop.mch_id, number);
            if order.is_some_and(|order| !order.prepay_ids.is_empty()) {
                return true;
            }
            sleep(Duration::from_millis(100)).await;
        }
        false
    }

    /// What shops do about orders that were accepted and that nobody knows: the same again.
    /// Returns how many.
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
