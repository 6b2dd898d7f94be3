//! The whole system under test: simulator, ingress and workers, started and stopped in order.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use broker::{AmqpUrl, TopologyMode};
use ingress::Listeners;
use simulator::{Handle, Simulator};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use wechatpay_v2::SignType;
use worker::{DatabaseUrl, Merchants};

use crate::Shop;
use crate::component::{Component, WorkerOptions, start_worker, wait_until_ready};
use crate::environment::TestEnvironment;
use crate::events::EventRecorder;
use crate::logs::Watch;
use crate::merchants::{self, TestMerchant, simulator_config};
use crate::options::{Options, idle_schedule, no_breaker};

pub struct World {
    pub environment: TestEnvironment,
    pub simulator: Handle,
    pub merchants: Vec<TestMerchant>,
    pub events: EventRecorder,
    pub http: reqwest::Client,
    pub public: SocketAddr,
    pub private: SocketAddr,
    pub workers: Vec<Component>,
    /// The merchants of every worker; replacing them is what SIGHUP does.
    pub worker_merchants: Merchants,
    /// What was logged since this world began.
    pub logs: Watch,
    /// Secrets that the test itself created.
    pub(crate) test_secrets: Mutex<Vec<String>>,
    worker_options: WorkerOptions,
    ingress: Option<Component>,
    /// Orders that were answered with 2xx.
    pub(crate) accepted: Mutex<BTreeSet<(String, String)>>,
    /// How many messages the test parked.
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
        let environment = environment(&options).await;
        let listeners = Listeners { public: listener().await, private: listener().await };
        let public = listeners.public.local_addr().unwrap();
        let private = listeners.private.local_addr().unwrap();
        let merchants = vec![
            TestMerchant::new("1900000109", SignType::Md5),
            TestMerchant::new("1900000110", SignType::HmacSha256),
        ];
        let close_age_min = options.gateway_close_age_min.unwrap_or_default();
        let simulator = start_simulator(&merchants, close_age_min).await;
        let worker_merchants = merchants::keys(&merchants, public);
        let ingress = start_ingress(&environment, &options, listeners);
        let worker_options = worker_options(&options, &simulator, worker_merchants.clone());
        let events = EventRecorder::start(environment.amqp_text.clone(), &environment.namespace);
        let mut world = Self {
            environment,
            simulator,
            merchants,
            events,
            http: http_client().build().unwrap(),
            public,
            private,
            workers: Vec::new(),
            worker_merchants,
            logs,
            test_secrets: Mutex::default(),
            worker_options,
            ingress: Some(ingress),
            accepted: Mutex::default(),
            parked_expected: 0,
            broker_was_lost: false,
            finished: false,
        };
        world.spawn_worker();
        world.wait_until_started(&options).await;
        for _ in 1..options.workers.unwrap_or(1) {
            world.add_worker().await;
        }
        world
    }

    /// Waits for every component that can become ready with these options.
    async fn wait_until_started(&self, options: &Options) {
        if options.undeclared {
            return;
        }
        if !options.unmigrated {
            self.wait_until_workers_ready().await;
        }
        if options.ingress_amqp_url.is_none() {
            // The ingress checks for the exchanges until the worker has declared them.
            self.wait_until_ingress_ready().await;
        }
        self.events.wait_until_listening().await;
    }

    /// Starts one more worker and waits until it consumes.
    pub async fn add_worker(&mut self) {
        self.spawn_worker();
        self.wait_until_workers_ready().await;
    }

    /// Starts one more worker without waiting for it.
    pub fn spawn_worker(&mut self) {
        self.workers.push(start_worker(&self.environment, &self.worker_options));
    }

    /// Restarts the workers with these addresses and the users in them.
    pub async fn restart_workers_as(&mut self, amqp_url: AmqpUrl, database_url: DatabaseUrl) {
        let workers = self.workers.len();
        self.stop_workers().await;
        self.worker_options.amqp_url = Some(amqp_url);
        self.worker_options.database_url = Some(database_url);
        for _ in 0..workers {
            self.add_worker().await;
        }
    }

    /// Stops every worker as SIGTERM does.
    pub async fn stop_workers(&mut self) {
        for worker in self.workers.drain(..) {
            worker.stop().await;
        }
    }

    /// Stops the ingress as SIGTERM does. The test starts another one at its address.
    pub async fn stop_ingress(&mut self) {
        self.ingress.take().expect("a running ingress").stop().await;
    }

    pub async fn wait_until_workers_ready(&self) {
        for worker in &self.workers {
            wait_until_ready(&self.http, worker.address).await;
        }
    }

    pub async fn wait_until_ingress_ready(&self) {
        wait_until_ready(&self.http, self.private).await;
    }

    /// The shop of the merchant that signs with MD5.
    pub fn md5_shop(&self) -> Shop {
        Shop::of(&self.merchants[0])
    }

    /// The shop of the merchant that signs with HMAC-SHA256.
    pub fn hmac_shop(&self) -> Shop {
        Shop::of(&self.merchants[1])
    }

    /// Makes the final check expect this many parked messages.
    pub fn expect_parked(&mut self, messages: u32) {
        self.parked_expected = messages;
    }

    /// Makes the final check accept that the broker has lost its data.
    pub fn expect_lost_notifications(&mut self) {
        self.broker_was_lost = true;
    }

    /// Waits until the system is idle, stops everything, checks the invariants and cleans up.
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
            panic!("call World::finish at the end of the test: it checks the invariants");
        }
    }
}

/// The client of a test. It keeps no idle connection: the ingress closes those after a few seconds,
/// and a request that is sent in that moment has no answer.
pub fn http_client() -> reqwest::ClientBuilder {
    reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0)
}

async fn environment(options: &Options) -> TestEnvironment {
    let mut environment = TestEnvironment::create(options.database_admin_url.clone()).await;
    if !options.unmigrated {
        worker::migrate(&environment.database_url).await.unwrap();
    }
    if let Some(amqp_text) = &options.amqp_text {
        environment.amqp_text.clone_from(amqp_text);
    }
    environment
}

fn start_ingress(
    environment: &TestEnvironment,
    options: &Options,
    listeners: Listeners,
) -> Component {
    let address = listeners.private.local_addr().unwrap();
    let amqp_url = options.ingress_amqp_url.clone().unwrap_or_else(|| environment.amqp_url());
    let mut config = ingress::Config::new(amqp_url, environment.namespace.clone());
    config.public_addr = listeners.public.local_addr().unwrap();
    config.private_addr = address;
    config.public_rate = options.public_rate.unwrap_or(config.public_rate);
    let stop = CancellationToken::new();
    let task = tokio::spawn(ingress::run(config, listeners, stop.clone()));
    Component { address, stop, task, runtime: None }
}

fn worker_options(options: &Options, simulator: &Handle, keys: Merchants) -> WorkerOptions {
    let primary = options.gateway_primary.clone();
    WorkerOptions {
        amqp_url: None,
        database_url: None,
        topology: if options.undeclared { TopologyMode::Check } else { TopologyMode::Declare },
        schedule: options.schedule.clone().unwrap_or_else(idle_schedule),
        keys,
        clients: options.clients.clone(),
        gateway_limits: options.gateway_limits.unwrap_or_else(no_breaker),
        gateway_backup_url: primary.is_some().then(|| simulator.url()),
        gateway_url: primary.unwrap_or_else(|| simulator.url()),
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
