//! Wires the worker together and takes it down in order.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use broker::{BrokerConfig, Connection, Consumer, ConsumerHandle, ConsumerLimits, Publisher};
use broker::{PublisherLimits, Queue, Replier, Setup};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, timeout};
use tokio_util::sync::CancellationToken;

use crate::commands::{CommandContext, Commands};
use crate::gateway::{FairSemaphore, Gateway};
use crate::notifications::Notifications;
use crate::ops::Probe;
use crate::order_service::OrderService;
use crate::reconcile::{QueryRequests, Reconciler};
use crate::relay;
use crate::store::{OutboxNotifier, Store};
use crate::{Config, gauges, migrations, ops, telemetry};

/// A little more than is in flight, so that a finished call finds the next order waiting.
const ORDERS_PREFETCH: u16 = 320;
/// Notifications in one transaction; measured to be past the knee at 50, and short of hurting
/// latency at 100 (engineering 8.3).
const NOTIFICATIONS_BATCH: usize = 100;
const NOTIFICATIONS_PREFETCH: u16 = 400;
/// One batch commits while the next is verified.
const NOTIFICATION_BATCHES_IN_FLIGHT: usize = 2;
const QUERIES_IN_FLIGHT: usize = 8;
const QUERIES_PREFETCH: u16 = 32;
/// The ladder of delays then spans about an hour, in which a person can mend what is broken.
const ATTEMPTS_MAX: u32 = 8;
const PUBLISHER: PublisherLimits = PublisherLimits { queued: 4096, in_flight: 1024 };
/// A call to WeChat and its commit take less; an orchestrator's grace period is usually 30 s.
const DRAIN_WITHIN: Duration = Duration::from_secs(20);
const CLOSE_WITHIN: Duration = Duration::from_secs(3);
/// A message that lies in `unrouted` raises an alert meanwhile.
const UNROUTED_EVERY: Duration = Duration::from_secs(30);
/// How often a worker that was started too early looks whether the schema is there.
const SCHEMA_EVERY: Duration = Duration::from_secs(1);

/// Runs until `stop`, then drains: consumers finish what they hold, the relay sends what is on the
/// road, and the connections close. What does not finish in time comes back through the broker.
///
/// # Errors
/// When the settings cannot be used. Neither a missing broker nor a missing database is an error:
/// the worker says "not ready" and waits for them.
pub async fn run(config: Config, ops: TcpListener, stop: CancellationToken) -> anyhow::Result<()> {
    telemetry::metrics();
    let (outbox, committed) = OutboxNotifier::channel();
    let store = Store::open(config.database_url.expose(), outbox, config.schedule.clone())
        .context("the database URL cannot be used")?;
    let gateway = Gateway::new(
        &config.gateway_url,
        config.gateway_backup_url.as_deref(),
        config.merchants.clone(),
        &config.gateway_limits,
        store.clone(),
    )
    .context("the gateway client cannot be made")?;
    let service = OrderService {
        store: store.clone(),
        merchants: config.merchants.clone(),
        gateway,
        schedule: config.schedule.clone(),
    };

    // Publishing outlives consuming: what is in hand at the end still has to be told.
    let closing = CancellationToken::new();
    let connection = |name: &str| {
        Connection::start(broker_config(&config, name), setup(&config), closing.clone())
    };
    let (consuming, publishing) =
        (connection("wxpay-worker consume"), connection("wxpay-worker publish"));
    let events = Publisher::start(publishing.clone(), PUBLISHER);
    let copies = Publisher::start(publishing.clone(), PUBLISHER);

    let consumers_run = CancellationToken::new();
    let probe = Probe {
        store: store.clone(),
        connections: vec![consuming.clone(), publishing.clone()],
        consuming: consumers_run.clone(),
        stop: stop.clone(),
    };
    let ops = tokio::spawn(ops::serve(ops, probe, closing.clone()));
    tokio::spawn(telemetry::upkeep(closing.clone()));

    if wait_for_schema(&config, &stop).await {
        let relay_stop = CancellationToken::new();
        let relay = tokio::spawn(relay::run(
            store.clone(),
            publishing.clone(),
            events.clone(),
            committed,
            relay_stop.clone(),
        ));
        tokio::spawn(send_back_unrouted(publishing.clone(), stop.clone()));
        tokio::spawn(gauges::run(store.clone(), publishing.clone(), stop.clone()));
        let (query_requests, query_request_receiver) = QueryRequests::channel();
        let reconciler = Reconciler::new(service.clone(), config.gateway_limits.concurrent_checks);
        let reconciler = tokio::spawn(reconciler.run(query_request_receiver, stop.clone()));
        let wires = (&consuming, &publishing, &copies);
        let consumers = consume(&config, &service, query_requests, wires, &stop);
        consumers_run.cancel();
        tracing::info!("consuming");
        stop.cancelled().await;

        tracing::info!("draining");
        if timeout(DRAIN_WITHIN, drain(consumers, reconciler)).await.is_err() {
            tracing::warn!("not everything was finished in time; it will be delivered again");
        }
        copies.drain(CLOSE_WITHIN).await;
        relay_stop.cancel();
        if timeout(CLOSE_WITHIN, relay).await.is_err() {
            tracing::warn!("events stay in the outbox for the next worker");
        }
    }

    closing.cancel();
    let closed = async {
        consuming.closed().await;
        publishing.closed().await;
        store.close().await;
        ops.await
    };
    if timeout(CLOSE_WITHIN, closed).await.is_err() {
        tracing::warn!("a connection did not close in time");
    }
    Ok(())
}

fn broker_config(config: &Config, connection_name: &str) -> BrokerConfig {
    BrokerConfig {
        amqp_url: config.amqp_url.clone(),
        namespace: config.namespace.clone(),
        connection_name: connection_name.to_owned(),
    }
}

fn setup(config: &Config) -> Setup {
    config.topology.into()
}

fn consume(
    config: &Config,
    service: &OrderService,
    query_requests: QueryRequests,
    (consuming, publishing, copies): (&Connection, &Connection, &Publisher),
    stop: &CancellationToken,
) -> Vec<ConsumerHandle> {
    let creates = config.gateway_limits.concurrent_creates;
    let commands = Arc::new(Commands::new(CommandContext {
        service: service.clone(),
        create_permits: FairSemaphore::new(creates, config.merchants.clone()),
        replier: Replier::start(publishing.clone()),
        namespace: config.namespace.clone(),
        clients: config.clients.clone(),
    }));
    let notifications = Arc::new(Notifications::new(service.clone(), query_requests));
    let limits = |prefetch, batch_max, batches_in_flight| ConsumerLimits {
        prefetch,
        batch_max,
        batches_in_flight,
        attempts_max: ATTEMPTS_MAX,
    };
    let (connection, copies) = (|| consuming.clone(), || copies.clone());
    vec![
        Consumer::start(
            connection(),
            copies(),
            Queue::Orders,
            limits(ORDERS_PREFETCH, 1, config.gateway_limits.concurrent_creates),
            Arc::clone(&commands),
            stop.clone(),
        ),
        Consumer::start(
            connection(),
            copies(),
            Queue::Queries,
            limits(QUERIES_PREFETCH, 1, QUERIES_IN_FLIGHT),
            commands,
            stop.clone(),
        ),
        Consumer::start(
            connection(),
            copies(),
            Queue::Notifications,
            limits(NOTIFICATIONS_PREFETCH, NOTIFICATIONS_BATCH, NOTIFICATION_BATCHES_IN_FLIGHT),
            notifications,
            stop.clone(),
        ),
    ]
}

async fn drain(consumers: Vec<ConsumerHandle>, reconciler: JoinHandle<()>) {
    for consumer in consumers {
        consumer.drained().await;
    }
    if let Err(error) = reconciler.await {
        tracing::error!(%error, "the reconciler ended in disorder");
    }
}

/// What was published while a binding was missing goes back to where it was meant for.
async fn send_back_unrouted(connection: Connection, stop: CancellationToken) {
    let mut every = tokio::time::interval(UNROUTED_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(every.tick()).await.is_some() {
        if connection.is_up()
            && let Err(error) = broker::replay_unrouted(&connection).await
        {
            tracing::warn!(%error, "unrouted messages stay where they are");
        }
    }
}

/// Nothing is consumed before the schema is there: every message would only wander up the ladder.
/// `false` when the worker is stopped first.
async fn wait_for_schema(config: &Config, stop: &CancellationToken) -> bool {
    let mut said = false;
    loop {
        let url = config.database_url.clone();
        let current = tokio::spawn(async move { migrations::is_current(&url).await }).await;
        match current {
            Ok(Ok(true)) => return true,
            Ok(Ok(false)) if !said => {
                tracing::warn!("waiting for the migrations: run `wxpay-worker migrate`");
                said = true;
            }
            Ok(Err(error)) if !said => {
                tracing::warn!(%error, "waiting for the database");
                said = true;
            }
            _ => {}
        }
        tokio::select! {
            () = stop.cancelled() => return false,
            () = tokio::time::sleep(SCHEMA_EVERY) => {}
        }
    }
}
