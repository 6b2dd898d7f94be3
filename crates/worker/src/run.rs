//! Starts the worker and stops it in order.

use std::time::Duration;

use anyhow::Context;
use broker::{BrokerConfig, Connection, ConsumerHandle, Publisher, PublisherLimits, Setup};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::consumers::{self, Broker};
use crate::gateway::{CallRecords, Gateway};
use crate::heartbeat::Heartbeat;
use crate::ops::{self, Readiness};
use crate::order_service::OrderService;
use crate::reconcile::{FirstCalls, LostNotifications, QueryRequests, Reconciler};
use crate::relay::{Relay, RelayConnections};
use crate::store::{OutboxNotifier, OutboxReceiver, Store};
use crate::{gauges, migrations, retention, unrouted};

const PUBLISHER: PublisherLimits = PublisherLimits { queued: 4096, in_flight: 1024 };
/// A call to WeChat and its commit take less. An orchestrator usually grants 30 s.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);
/// How often a worker that was started too early checks for the schema.
const SCHEMA_INTERVAL: Duration = Duration::from_secs(1);

/// Runs until `stop`. Then the consumers finish what they have begun, the relay publishes what is
/// committed, and the connections close. What does not finish in time is delivered again.
///
/// # Errors
/// When a setting cannot be used. A missing broker or database is no error: the worker is not ready
/// and waits for them.
pub async fn run(config: Config, ops: TcpListener, stop: CancellationToken) -> anyhow::Result<()> {
    let metrics = service::metrics::install("worker", env!("CARGO_PKG_VERSION"));
    let (notifier, outbox) = OutboxNotifier::channel();
    let worker = Worker::new(config, notifier, stop)?;
    let serve_ops = ops::serve(ops, worker.readiness(), metrics.clone(), worker.close.clone());
    let ops = tokio::spawn(serve_ops);
    let close = worker.close.clone();
    tokio::spawn(async move {
        close.run_until_cancelled(service::metrics::upkeep(&metrics)).await;
    });
    if worker.wait_for_schema().await {
        worker.work(outbox).await;
    }
    worker.close(ops).await;
    Ok(())
}

struct Worker {
    config: Config,
    store: Store,
    service: OrderService,
    broker: Broker,
    /// For events of merchants whose queues may not confirm in time. Nothing else waits for it.
    publishing_apart: Connection,
    is_consuming: watch::Sender<bool>,
    stop: CancellationToken,
    /// Cancelled after `stop`, when everything is drained: what is in progress at the end still
    /// needs the broker.
    close: CancellationToken,
}

impl Worker {
    fn new(
        config: Config,
        notifier: OutboxNotifier,
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        let store = Store::open(config.database_url.expose(), notifier, config.schedule.clone())
            .context("the database URL cannot be used")?;
        let records = CallRecords::default();
        let gateway = Gateway::new(
            &config.gateway_url,
            config.gateway_backup_url.as_deref(),
            config.merchants.clone(),
            &config.gateway_limits,
            records.clone(),
        )
        .context("the gateway client cannot be made")?;
        let service = OrderService::start(
            store.clone(),
            config.merchants.clone(),
            gateway,
            config.schedule.clone(),
            records,
        );
        let close = CancellationToken::new();
        let consuming = connect(&config, "wxpay-worker consume", &close);
        let publishing = connect(&config, "wxpay-worker publish", &close);
        let publishing_apart = connect(&config, "wxpay-worker publish apart", &close);
        let republisher = Publisher::start(publishing.clone(), PUBLISHER);
        Ok(Self {
            config,
            store,
            service,
            broker: Broker { consuming, publishing, republisher },
            publishing_apart,
            is_consuming: watch::Sender::new(false),
            stop,
            close,
        })
    }

    fn readiness(&self) -> Readiness {
        Readiness {
            store: self.store.clone(),
            connections: vec![self.broker.consuming.clone(), self.broker.publishing.clone()],
            is_consuming: self.is_consuming.subscribe(),
            stop: self.stop.clone(),
        }
    }

    /// Without the schema nothing is consumed: every message would only be delayed and parked.
    /// Returns `false` when the worker is stopped first.
    async fn wait_for_schema(&self) -> bool {
        let mut is_logged = false;
        loop {
            let url = self.config.database_url.clone();
            // In a task of its own: `stop` must not cancel a query half-way.
            let current = tokio::spawn(async move { migrations::is_current(&url).await }).await;
            match current {
                Ok(Ok(true)) => return true,
                Ok(Ok(false)) if !is_logged => {
                    tracing::warn!("waiting for the migrations: run `wxpay-worker migrate`");
                    is_logged = true;
                }
                Ok(Err(error)) if !is_logged => {
                    tracing::warn!(%error, "waiting for the database");
                    is_logged = true;
                }
                _ => {}
            }
            tokio::select! {
                () = self.stop.cancelled() => return false,
                () = tokio::time::sleep(SCHEMA_INTERVAL) => {}
            }
        }
    }

    /// Handles messages, checks orders and publishes events until `stop`, then drains.
    async fn work(&self, outbox: OutboxReceiver) {
        let publishing = &self.broker.publishing;
        let connections =
            RelayConnections { common: publishing.clone(), own: self.publishing_apart.clone() };
        let relay = Relay::new(self.store.clone(), connections);
        let relay_stop = CancellationToken::new();
        let relay = tokio::spawn(relay.run(outbox, relay_stop.clone()));
        tokio::spawn(unrouted::run(publishing.clone(), self.stop.clone()));
        gauges::start(&self.store, publishing, &self.stop);
        tokio::spawn(retention::run(self.store.clone(), self.stop.clone()));
        let heartbeat = Heartbeat::new(self.store.clone(), self.service.gateway.clone());
        let heartbeat = heartbeat.start(self.stop.clone()).await;
        let lost = LostNotifications::new(
            self.store.clone(),
            self.config.schedule.clone(),
            self.service.notified.clone(),
        );
        tokio::spawn(lost.run(self.stop.clone()));
        let (requests, request_receiver) = QueryRequests::channel();
        let concurrent_checks = self.config.gateway_limits.concurrent_checks;
        let reconciler = Reconciler::new(self.service.clone(), concurrent_checks);
        let reconciler = tokio::spawn(reconciler.run(request_receiver, self.stop.clone()));
        let first_calls = FirstCalls::new(self.service.clone());
        let first_calls = tokio::spawn(first_calls.run(self.stop.clone()));
        let calls = TaskTracker::new();
        let consumers = consumers::start(
            &self.config,
            &self.service,
            requests,
            &self.broker,
            &calls,
            &self.stop,
        );
        self.is_consuming.send_replace(true);
        tracing::info!("consuming");
        self.stop.cancelled().await;

        tracing::info!("draining");
        self.service.gateway.close();
        if timeout(DRAIN_TIMEOUT, drain(consumers, &calls, [reconciler, first_calls, heartbeat]))
            .await
            .is_err()
        {
            tracing::warn!("not everything was finished in time; it will be delivered again");
        }
        self.broker.republisher.drain(CLOSE_TIMEOUT).await;
        relay_stop.cancel();
        if timeout(CLOSE_TIMEOUT, relay).await.is_err() {
            tracing::warn!("events stay in the outbox; the next worker publishes them");
        }
    }

    async fn close(self, ops: JoinHandle<()>) {
        self.close.cancel();
        let closed = async {
            self.broker.consuming.closed().await;
            self.broker.publishing.closed().await;
            self.publishing_apart.closed().await;
            self.store.close().await;
            ops.await
        };
        if timeout(CLOSE_TIMEOUT, closed).await.is_err() {
            tracing::warn!("a connection did not close in time");
        }
    }
}

fn connect(config: &Config, connection_name: &str, close: &CancellationToken) -> Connection {
    let broker = BrokerConfig {
        amqp_url: config.amqp_url.clone(),
        namespace: config.namespace.clone(),
        connection_name: connection_name.to_owned(),
    };
    let setup: Setup = config.topology.into();
    Connection::start(broker, setup, close.clone())
}

async fn drain(consumers: Vec<ConsumerHandle>, calls: &TaskTracker, loops: [JoinHandle<()>; 3]) {
    for consumer in consumers {
        consumer.drained().await;
    }
    calls.close();
    calls.wait().await;
    for task in loops {
        if let Err(error) = task.await {
            tracing::error!(%error, "a loop of the worker has panicked");
        }
    }
}
