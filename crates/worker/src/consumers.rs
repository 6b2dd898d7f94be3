//! Which queues are consumed, with which handlers and limits.

use std::sync::Arc;

use broker::{Connection, Consumer, ConsumerHandle, ConsumerLimits, Publisher, Queue, Replier};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::commands::{CommandContext, Commands};
use crate::config::Config;
use crate::notifications::Notifications;
use crate::order_service::OrderService;
use crate::reconcile::QueryRequests;

/// Commands in one batch, whose new orders are accepted in one transaction.
const ORDERS_BATCH: usize = 256;
/// The next batches are there when one is accepted.
const ORDERS_PREFETCH: u16 = 1024;
/// Two full ones, and one that is stuck.
const ORDER_BATCHES_IN_FLIGHT: usize = 3;
/// Notifications in one transaction.
const NOTIFICATIONS_BATCH: usize = 256;
/// The next batches are there when one is settled.
const NOTIFICATIONS_PREFETCH: u16 = 1024;
/// Two full ones, and one that is stuck.
const NOTIFICATION_BATCHES_IN_FLIGHT: usize = 3;
const QUERIES_IN_FLIGHT: usize = 8;
const QUERIES_PREFETCH: u16 = 32;
/// The retry delays then add up to about an hour, in which an operator can fix what is broken.
const ATTEMPTS_MAX: u32 = 8;

/// The worker's side of the broker.
pub(crate) struct Broker {
    pub(crate) consuming: Connection,
    pub(crate) publishing: Connection,
    /// Sends deliveries to the delay queues and the parked queues.
    pub(crate) republisher: Publisher,
}

pub(crate) fn start(
    config: &Config,
    service: &OrderService,
    requests: QueryRequests,
    broker: &Broker,
    calls: &TaskTracker,
    stop: &CancellationToken,
) -> Vec<ConsumerHandle> {
    let commands = Arc::new(Commands::new(CommandContext {
        service: service.clone(),
        calls: calls.clone(),
        requests: requests.clone(),
        replier: Replier::start(broker.publishing.clone()),
        namespace: config.namespace.clone(),
        clients: config.clients.clone(),
    }));
    let notifications = Arc::new(Notifications::new(service.clone(), requests));
    let orders = ConsumerLimits {
        prefetch: ORDERS_PREFETCH,
        batch_max: ORDERS_BATCH,
        batches_in_flight: ORDER_BATCHES_IN_FLIGHT,
        attempts_max: ATTEMPTS_MAX,
    };
    let queries = ConsumerLimits {
        prefetch: QUERIES_PREFETCH,
        batch_max: 1,
        batches_in_flight: QUERIES_IN_FLIGHT,
        attempts_max: ATTEMPTS_MAX,
    };
    let batches = ConsumerLimits {
        prefetch: NOTIFICATIONS_PREFETCH,
        batch_max: NOTIFICATIONS_BATCH,
        batches_in_flight: NOTIFICATION_BATCHES_IN_FLIGHT,
        attempts_max: ATTEMPTS_MAX,
    };
    vec![
        broker.consume(Queue::Orders, orders, Arc::clone(&commands), stop),
        broker.consume(Queue::Queries, queries, commands, stop),
        broker.consume(Queue::Notifications, batches, notifications, stop),
    ]
}

impl Broker {
    fn consume<H: broker::Handler>(
        &self,
        queue: Queue,
        limits: ConsumerLimits,
        handler: Arc<H>,
        stop: &CancellationToken,
    ) -> ConsumerHandle {
        let connection = self.consuming.clone();
        let republisher = self.republisher.clone();
        Consumer::start(connection, republisher, queue, limits, handler, stop.clone())
    }
}
