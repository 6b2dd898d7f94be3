//! Everything a flow needs, started and stopped in order.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Mutex;
use std::time::Duration;

use broker::{AmqpUrl, TopologyMode};
use ingress::Listeners;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use simulator::{Handle, PayOptions, Simulator};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use wechatpay_v2::{ApiKey, AppId, MchId, SignType};
use worker::{CheckSchedule, DatabaseUrl, GatewayLimits, Merchant, Merchants};

use crate::environment::TestEnvironment;
use crate::events::EventRecorder;
use crate::logs::Watch;
use crate::{Shop, eventually};

/// A merchant made for one test, its key and its payer drawn at random so that they can be
/// searched for in the logs.
#[derive(Clone, Debug)]
pub struct TestMerchant {
    pub mch_id: String,
    pub appid: String,
    pub openid: String,
    pub key: String,
    pub sign_type: SignType,
}

/// What differs from the ordinary.
#[derive(Default)]
pub struct Options {
    /// How many workers; one unless said.
    pub workers: Option<usize>,
    /// Where everybody finds the broker, when it is not the one that the environment names.
    pub amqp_text: Option<String>,
    /// Where the database is made, when it is not on the server that the environment names.
    pub database_admin_url: Option<String>,
    /// Where the ingress finds the broker, when it is not where everybody else does.
    pub ingress_amqp_url: Option<AmqpUrl>,
    /// Requests per second that the ingress takes from one source.
    pub public_rate: Option<NonZeroU32>,
    /// Everything is started before anybody has migrated the database.
    pub unmigrated: bool,
    /// Everything is started before an operator, who owns it here, has declared the topology.
    pub undeclared: bool,
    /// When the reconciler looks at an order; practically never unless said, so that a flow sees
    /// only what it causes itself.
    pub schedule: Option<CheckSchedule>,
    /// Whom the workers take commands from.
    pub clients: Option<worker::Clients>,
    /// How old an order must be before the gateway closes it; of any age unless said.
    pub gateway_close_age_min: Option<Duration>,
    /// What bounds the workers' calls; failures never pause them unless said, so that a flow sees
    /// each call that it makes fail.
    pub gateway_limits: Option<GatewayLimits>,
    /// The primary host of the gateway; the simulator is then its backup.
    pub gateway_primary: Option<String>,
}

/// How every worker of a world is.
#[derive(Clone)]
struct WorkerOptions {
    /// As whom they work, when it is not as the test does.
    amqp_url: Option<AmqpUrl>,
    database_url: Option<DatabaseUrl>,
    topology: TopologyMode,
    schedule: CheckSchedule,
    keys: Merchants,
    clients: Option<worker::Clients>,
    gateway_limits: GatewayLimits,
    gateway_url: String,
    gateway_backup_url: Option<String>,
}

/// The reconciler as a flow wants it that is about something else.
fn idle_schedule() -> CheckSchedule {
    let never = Duration::from_secs(3600);
    CheckSchedule {
        payable_check_interval: never,
        unknown_retry_first: never,
        ..CheckSchedule::default()
    }
}

/// The guards of a flow that has many calls fail on purpose and is about something else.
fn no_breaker() -> GatewayLimits {
    GatewayLimits { failures_max: u32::MAX, ..GatewayLimits::default() }
}

/// The reconciler in a hurry: every wait is a fraction of a second.
pub fn fast_schedule() -> CheckSchedule {
    CheckSchedule {
        close_age_min: Duration::from_millis(200),
        expiry_grace: Duration::ZERO,
        closed_check_delay: Duration::from_millis(300),
        payable_check_interval: Duration::from_millis(200),
        unknown_retry_first: Duration::from_millis(100),
    }
}

/// A running part of the system.
pub struct Service {
    pub address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
    /// Of its own where it can be killed: nothing in it survives that.
    runtime: Option<Runtime>,
}

impl Service {
    /// What its probe says.
    pub async fn readiness(&self, http: &reqwest::Client) -> (StatusCode, String) {
        let url = format!("http://{}/readyz", self.address);
        let answer = http.get(url).send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    }

    /// Stops it as SIGTERM does, and waits for its end.
    pub async fn stop(mut self) {
        self.stop.cancel();
        (&mut self.task).await.unwrap().unwrap();
    }

    /// Kills it between two lines: no task of it runs on, nothing is drained, its sockets close.
    pub fn kill(self) {
        assert!(self.runtime.is_some(), "a worker has a runtime of its own");
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The whole system.
pub struct World {
    pub environment: TestEnvironment,
    pub simulator: Handle,
    pub merchants: Vec<TestMerchant>,
    pub events: EventRecorder,
    pub http: reqwest::Client,
    pub public: SocketAddr,
    pub private: SocketAddr,
    pub workers: Vec<Service>,
    /// The merchants of every worker; replacing them is what SIGHUP does.
    pub keys: Merchants,
    /// What was logged since this world began.
    pub logs: Watch,
    /// Secrets that only the test knows of.
    pub(crate) test_secrets: Mutex<Vec<String>>,
    worker_options: WorkerOptions,
    ingress: Option<Service>,
    /// Numbers that were answered with 2xx.
    pub(crate) accepted: Mutex<BTreeSet<(String, String)>>,
    /// Messages that the test knows to be parked.
    pub(crate) parked_expected: u32,
    pub(crate) broker_was_lost: bool,
    finished: bool,
}

impl World {
    pub async fn start() -> Self {
        Self::start_with(Options::default()).await
    }

    pub async fn start_with(options: Options) -> Self {
        let logs = Watch::start();
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut environment = TestEnvironment::create(options.database_admin_url).await;
        if !options.unmigrated {
            worker::migrate(&environment.database_url).await.unwrap();
        }
        if let Some(amqp_text) = options.amqp_text {
            environment.amqp_text = amqp_text;
        }
        let listeners = Listeners { public: listener().await, private: listener().await };
        let public = listeners.public.local_addr().unwrap();
        let private = listeners.private.local_addr().unwrap();
        let merchants = vec![
            TestMerchant::new("1900000109", SignType::Md5),
            TestMerchant::new("1900000110", SignType::HmacSha256),
        ];
        let close_age_min = options.gateway_close_age_min.unwrap_or_default();
        let simulator = start_simulator(&merchants, close_age_min).await;

        let ordinary = options.ingress_amqp_url.is_none();
        let mut config = ingress::Config::new(
            options.ingress_amqp_url.unwrap_or_else(|| environment.amqp_url()),
            environment.namespace.clone(),
        );
        config.public_addr = public;
        config.private_addr = private;
        config.public_rate = options.public_rate.unwrap_or(config.public_rate);
        let stop = CancellationToken::new();
        let task = tokio::spawn(ingress::run(config, listeners, stop.clone()));
        let ingress = Service { address: private, stop, task, runtime: None };

        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let topology = match options.undeclared {
            true => TopologyMode::Check,
            false => TopologyMode::Declare,
        };
        let keys = keys(&merchants, public);
        let worker_options = WorkerOptions {
            amqp_url: None,
            database_url: None,
            topology,
            schedule: options.schedule.unwrap_or_else(idle_schedule),
            keys: keys.clone(),
            clients: options.clients,
            gateway_limits: options.gateway_limits.unwrap_or_else(no_breaker),
            gateway_backup_url: options.gateway_primary.is_some().then(|| simulator.url()),
            gateway_url: options.gateway_primary.unwrap_or_else(|| simulator.url()),
        };
        let first = start_worker(&environment, &worker_options);
        if !options.unmigrated && !options.undeclared {
            ready(&http, first.address).await;
        }
        if ordinary && !options.undeclared {
            // It looked for the exchanges before the worker declared them, and looks again.
            ready(&http, private).await;
        }
        let events = EventRecorder::start(environment.amqp_text.clone(), &environment.namespace);
        if !options.undeclared {
            events.wait_until_listening().await;
        }
        let mut world = Self {
            environment,
            simulator,
            merchants,
            events,
            http,
            public,
            private,
            workers: vec![first],
            keys,
            logs,
            test_secrets: Mutex::default(),
            worker_options,
            ingress: Some(ingress),
            accepted: Mutex::default(),
            parked_expected: 0,
            broker_was_lost: false,
            finished: false,
        };
        for _ in 1..options.workers.unwrap_or(1) {
            world.add_worker().await;
        }
        world
    }

    /// Starts one more worker and waits until it consumes.
    pub async fn add_worker(&mut self) {
        self.spawn_worker();
        self.wait_until_workers_ready().await;
    }

    /// Starts one more worker, which may have to wait for what it needs.
    pub fn spawn_worker(&mut self) {
        self.workers.push(start_worker(&self.environment, &self.worker_options));
    }

    /// Replaces the workers by as many that use these addresses, under the users in them.
    pub async fn restart_workers_as(&mut self, amqp_url: AmqpUrl, database_url: DatabaseUrl) {
        let workers = self.workers.len();
        self.stop_workers().await;
        self.worker_options.amqp_url = Some(amqp_url);
        self.worker_options.database_url = Some(database_url);
        for _ in 0..workers {
            self.add_worker().await;
        }
    }

    /// Stops every worker, as SIGTERM does.
    pub async fn stop_workers(&mut self) {
        for worker in self.workers.drain(..) {
            worker.stop().await;
        }
    }

    /// Stops the ingress, as SIGTERM does, for one that takes its environment.
    pub async fn stop_ingress(&mut self) {
        self.ingress.take().expect("an ingress that runs").stop().await;
    }

    /// Waits until every worker is ready.
    pub async fn wait_until_workers_ready(&self) {
        for worker in &self.workers {
            ready(&self.http, worker.address).await;
        }
    }

    /// Waits until the ingress is ready.
    pub async fn wait_until_ingress_ready(&self) {
        ready(&self.http, self.private).await;
    }

    /// The shop of the merchant that signs with MD5.
    pub fn shop(&self) -> Shop {
        Shop::of(&self.merchants[0])
    }

    /// The shop of the merchant that signs with HMAC-SHA256.
    pub fn hmac_shop(&self) -> Shop {
        Shop::of(&self.merchants[1])
    }

    /// Posts whatever it is given to the shops' door.
    pub async fn post(
        &self,
        body: impl Into<reqwest::Body>,
        headers: &[(&str, &str)],
    ) -> reqwest::Response {
        let url = format!("http://{}/v1/orders", self.private);
        let request = headers
            .iter()
            .fold(self.http.post(url), |request, (name, value)| request.header(*name, *value));
        request.body(body).send().await.unwrap()
    }

    /// Posts an order, and waits for the worker's answer when `wait_s` is given.
    pub async fn create(&self, order: &Value, wait_s: Option<u8>) -> (StatusCode, Value) {
        let wait = wait_s.map(|seconds| format!("wait={seconds}"));
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(wait.as_deref().map(|wait| ("prefer", wait)));
        let response = self.post(order.to_string(), &headers).await;
        let status = response.status();
        if status.is_success() {
            let text = |name: &str| order[name].as_str().unwrap_or_default().to_owned();
            self.accepted.lock().unwrap().insert((text("mch_id"), text("out_trade_no")));
        }
        (status, json_body(response).await)
    }

    /// Posts an order and returns it as it became payable.
    pub async fn create_payable(&self, order: &Value) -> Value {
        let (status, view) = self.create(order, Some(20)).await;
        assert_eq!((status, &view["state"]), (StatusCode::OK, &Value::from("payable")), "{view}");
        view
    }

    /// The order's view, asked of the ingress.
    pub async fn get(&self, shop: &Shop, out_trade_no: &str) -> (StatusCode, Value) {
        let url = format!("http://{}/v1/orders/{}/{out_trade_no}", self.private, shop.mch_id);
        let response = self.http.request(Method::GET, url).send().await.unwrap();
        let status = response.status();
        (status, json_body(response).await)
    }

    /// Posts bytes as a payment notification to a merchant's path.
    pub async fn notify(&self, mch_id: &str, body: Vec<u8>) -> (StatusCode, String) {
        self.post_notification(&format!("{mch_id}/payment"), body).await
    }

    /// Posts bytes as a refund notification to a merchant's path.
    pub async fn notify_refund(&self, mch_id: &str, body: Vec<u8>) -> (StatusCode, String) {
        self.post_notification(&format!("{mch_id}/refund"), body).await
    }

    async fn post_notification(&self, path: &str, body: Vec<u8>) -> (StatusCode, String) {
        let url = format!("http://{}/notify/{path}", self.public);
        let response = self.http.post(url).body(body).send().await.unwrap();
        (response.status(), response.text().await.unwrap())
    }

    /// The customer pays; the simulator notifies as `options` say.
    pub fn pay(&self, shop: &Shop, out_trade_no: &str, options: &PayOptions) -> simulator::Paid {
        self.simulator.pay(&shop.mch_id, out_trade_no, options).unwrap()
    }

    /// A notification that the simulator wrote and did not send.
    pub fn unsent_notification(
        &self,
        shop: &Shop,
        out_trade_no: &str,
        options: PayOptions,
    ) -> Vec<u8> {
        let options = PayOptions { hold: true, ..options };
        self.pay(shop, out_trade_no, &options).body.unwrap()
    }

    /// Waits until the order is in this state in the database.
    pub async fn wait_for_state(&self, shop: &Shop, out_trade_no: &str, state: &str) {
        eventually(&format!("{out_trade_no} to be {state}"), async || {
            let now = self.order_state(shop, out_trade_no).await?;
            (now == state).then_some(())
        })
        .await;
    }

    /// The order's state in the database.
    pub async fn order_state(&self, shop: &Shop, out_trade_no: &str) -> Option<String> {
        let state = "select state from orders where mch_id = $1 and out_trade_no = $2";
        let state = sqlx::query_scalar(state).bind(&shop.mch_id).bind(out_trade_no);
        state.fetch_optional(&self.environment.pool).await.unwrap()
    }

    /// Waits for an event of this type about a number, and returns it.
    pub async fn wait_for_event(&self, out_trade_no: &str, kind: &str) -> Value {
        eventually(&format!("{kind} about {out_trade_no}"), async || {
            let events = self.events.for_order(out_trade_no);
            events.into_iter().find(|event| event["type"] == kind)
        })
        .await
    }

    /// The exceptions of a number, open or resolved.
    pub async fn exception_kinds(&self, out_trade_no: &str) -> Vec<String> {
        let kinds = "select kind from exceptions where out_trade_no = $1 order by kind";
        let kinds = sqlx::query_scalar(kinds).bind(out_trade_no);
        kinds.fetch_all(&self.environment.pool).await.unwrap()
    }

    /// How many notifications are kept with this verdict.
    pub async fn count_notifications(&self, verdict: &str) -> i64 {
        let count = "select count(*) from notifications where verdict = $1";
        sqlx::query_scalar(count).bind(verdict).fetch_one(&self.environment.pool).await.unwrap()
    }

    /// The whole of the tables that money depends on, to compare before and after. When an order is
    /// looked at again, and who calls about it at present, is no part of what it is.
    pub async fn ledger_rows(&self) -> Vec<String> {
        let rows = "select (to_jsonb(o) - array['next_check_at', 'call_lease_holder',
                'call_lease_until'])::text from orders o
            union all select t::text from order_transitions t order by 1";
        sqlx::query_scalar(rows).fetch_all(&self.environment.pool).await.unwrap()
    }

    /// Tells the final check that the test parked this many messages.
    pub fn expect_parked(&mut self, messages: u32) {
        self.parked_expected = messages;
    }

    /// Tells the final check that the broker has lost its data.
    pub fn expect_lost_notifications(&mut self) {
        self.broker_was_lost = true;
    }

    /// Waits for quiet, stops everything, checks the invariants of design 10, and cleans up.
    pub async fn finish(mut self) {
        if self.workers.is_empty() {
            self.add_worker().await;
        }
        self.wait_until_idle().await;
        if let Some(ingress) = self.ingress.take() {
            ingress.stop().await;
        }
        self.stop_workers().await;
        self.check_invariants().await;
        self.finished = true;
        self.events.remove().await;
        self.environment.remove().await;
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !self.finished && !std::thread::panicking() {
            panic!("a flow ends with World::finish, which checks the invariants");
        }
    }
}

impl TestMerchant {
    pub fn new(mch_id: &str, sign_type: SignType) -> Self {
        let random = || Uuid::new_v4().simple().to_string();
        Self {
            mch_id: mch_id.to_owned(),
            appid: "wx8888888888888888".to_owned(),
            openid: format!("o{}", &random()[..27]),
            key: random(),
            sign_type,
        }
    }
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

async fn start_simulator(merchants: &[TestMerchant], close_age_min: Duration) -> Handle {
    let mut config = simulator_config(merchants);
    config.close_age_min = close_age_min;
    Simulator::start(config, listener().await).unwrap()
}

/// A gateway that knows these merchants and is in a hurry.
pub fn simulator_config(merchants: &[TestMerchant]) -> simulator::Config {
    let merchants = merchants.iter().map(|merchant| simulator::Merchant {
        mch_id: MchId::parse(&*merchant.mch_id).unwrap(),
        appids: vec![AppId::parse(&*merchant.appid).unwrap()],
        key: ApiKey::parse(&merchant.key).unwrap(),
        sign_type: merchant.sign_type,
        notify_base_url: None,
    });
    let mut config = simulator::Config::new(merchants.collect());
    // The repeats of a day within seconds.
    config.time_scale = 1000.0;
    config
}

/// The merchants file that these merchants would have.
pub fn keys(merchants: &[TestMerchant], public: SocketAddr) -> Merchants {
    let merchants = merchants.iter().map(|merchant| Merchant {
        mch_id: MchId::parse(&*merchant.mch_id).unwrap(),
        appids: vec![AppId::parse(&*merchant.appid).unwrap()],
        sign_type: merchant.sign_type,
        notify_base_url: format!("http://{public}"),
        key: ApiKey::parse(&merchant.key).unwrap(),
        previous_key: None,
        requests_per_second: Merchant::REQUESTS_PER_SECOND,
    });
    Merchants::of(merchants.collect()).unwrap()
}

fn start_worker(environment: &TestEnvironment, worker_options: &WorkerOptions) -> Service {
    let config = worker::Config {
        amqp_url: worker_options.amqp_url.clone().unwrap_or_else(|| environment.amqp_url()),
        namespace: environment.namespace.clone(),
        topology: worker_options.topology,
        database_url: worker_options
            .database_url
            .clone()
            .unwrap_or_else(|| environment.database_url.clone()),
        merchants: worker_options.keys.clone(),
        gateway_url: worker_options.gateway_url.clone(),
        gateway_backup_url: worker_options.gateway_backup_url.clone(),
        clients: worker_options.clients.clone(),
        schedule: worker_options.schedule.clone(),
        gateway_limits: worker_options.gateway_limits,
    };
    let ops = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    ops.set_nonblocking(true).unwrap();
    let address = ops.local_addr().unwrap();
    let stop = CancellationToken::new();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let stopped = stop.clone();
    let task = runtime.spawn(async move {
        let ops = TcpListener::from_std(ops)?;
        worker::run(config, ops, stopped).await
    });
    Service { address, stop, task, runtime: Some(runtime) }
}

async fn ready(http: &reqwest::Client, address: SocketAddr) {
    eventually("readiness", async || {
        let answer = http.get(format!("http://{address}/readyz")).send().await.ok()?;
        answer.status().is_success().then_some(())
    })
    .await;
}

async fn json_body(response: reqwest::Response) -> Value {
    let text = response.text().await.unwrap();
    serde_json::from_str(&text).unwrap_or(Value::String(text))
}
