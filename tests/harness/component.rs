//! A worker or the ingress, running inside the test process.

use std::net::SocketAddr;
use std::time::Duration;

use broker::{AmqpUrl, TopologyMode};
use reqwest::StatusCode;
use service::log::LogFilter;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use worker::{CheckSchedule, DatabaseUrl, GatewayLimits, Merchants};

use crate::environment::TestEnvironment;
use crate::eventually;

/// Far beyond what the tasks of a worker take to reach their next await.
const KILL_TIMEOUT: Duration = Duration::from_secs(30);

pub struct Component {
    pub address: SocketAddr,
    pub(crate) stop: CancellationToken,
    pub(crate) task: JoinHandle<anyhow::Result<()>>,
    /// The component's own runtime. Shutting it down kills every task in it.
    pub(crate) runtime: Option<Runtime>,
}

impl Component {
    /// The answer of the readiness probe.
    pub async fn readiness(&self, http: &reqwest::Client) -> (StatusCode, String) {
        let url = format!("http://{}/readyz", self.address);
        let answer = http.get(url).send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    }

    /// Stops the component as SIGTERM does and waits for its end.
    pub async fn stop(mut self) {
        self.stop.cancel();
        (&mut self.task).await.unwrap().unwrap();
    }

    /// Kills a worker at once: no task of it runs on, nothing is drained, its sockets close. Returns
    /// when that is so, however busy the machine is.
    pub fn kill(mut self) {
        let runtime = self.runtime.take().expect("a worker has a runtime of its own");
        // In a thread, because one runtime must not be waited for inside another.
        std::thread::spawn(move || runtime.shutdown_timeout(KILL_TIMEOUT)).join().unwrap();
    }
}

impl Drop for Component {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The configuration of every worker of a [`World`](crate::World).
#[derive(Clone)]
pub(crate) struct WorkerOptions {
    /// The broker's URL, when the workers connect as another user than the test.
    pub(crate) amqp_url: Option<AmqpUrl>,
    pub(crate) database_url: Option<DatabaseUrl>,
    pub(crate) topology: TopologyMode,
    pub(crate) schedule: CheckSchedule,
    pub(crate) keys: Merchants,
    pub(crate) clients: Option<worker::Clients>,
    pub(crate) gateway_limits: GatewayLimits,
    pub(crate) gateway_url: String,
    pub(crate) gateway_backup_url: Option<String>,
}

pub(crate) fn start_worker(environment: &TestEnvironment, options: &WorkerOptions) -> Component {
    let config = worker::Config {
        amqp_url: options.amqp_url.clone().unwrap_or_else(|| environment.amqp_url()),
        namespace: environment.namespace.clone(),
        topology: options.topology,
        database_url: options
            .database_url
            .clone()
            .unwrap_or_else(|| environment.database_url.clone()),
        merchants: options.keys.clone(),
        gateway_url: options.gateway_url.clone(),
        gateway_backup_url: options.gateway_backup_url.clone(),
        clients: options.clients.clone(),
        ops_addr: ([127, 0, 0, 1], 0).into(),
        log: LogFilter::default(),
        schedule: options.schedule.clone(),
        gateway_limits: options.gateway_limits,
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
    Component { address, stop, task, runtime: Some(runtime) }
}

pub(crate) async fn wait_until_ready(http: &reqwest::Client, address: SocketAddr) {
    eventually("readiness", async || {
        let answer = http.get(format!("http://{address}/readyz")).send().await.ok()?;
        answer.status().is_success().then_some(())
    })
    .await;
}
