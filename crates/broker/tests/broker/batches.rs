//! Consuming: batches, bounds, stopping, and a faulty handler.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use broker::{ConsumerLimits, Delivery, Exchange, Handler, Outcome, Queue, topology};
use futures_util::StreamExt;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use crate::support::recorder::Recorder;
use crate::support::{CONSUMER, DEADLINE, RawClient, SHORT, eventually, in_namespace, message_to};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handled_deliveries_are_acknowledged() {
    in_namespace(|namespace| async move {
        let publisher = namespace.publisher().await;
        for number in 0..300 {
            let mut message = message_to(Exchange::Commands, topology::ORDER_CREATE);
            message.body = number.to_string().into();
            message.headers = vec![("mch_id".into(), "1900000109".into())];
            publisher.publish(message, SHORT).await.unwrap();
        }
        let handler = Recorder::new(|_| Outcome::Done);
        let consumer = namespace.consume(Queue::Orders, CONSUMER, &handler).await;
        eventually("all are handled", || handler.count() == 300).await;
        consumer.stop().await;

        assert_eq!(handler.distinct_bodies().len(), 300);
        assert!(handler.largest_batch() > 1 && handler.largest_batch() <= CONSUMER.batch_max);
        let first = &handler.deliveries()[0];
        assert_eq!(first.routing_key, "order.create");
        assert_eq!(first.attempt, 1);
        assert_eq!(first.header("mch_id"), Some("1900000109"));
        assert_eq!(first.message_id.unwrap().to_string(), first.message_id_text.clone().unwrap());
        assert_eq!(first.content_type.as_deref(), Some("application/json"));
        assert_eq!(first.kind.as_deref(), Some("order.create"));
        assert!(!first.redelivered && first.timestamp_seconds.is_some());
        namespace.raw_client().await.wait_for_count(&namespace.name("orders"), 0).await;
    })
    .await;
}

/// Ends its batches in another order than they begin.
#[derive(Default)]
struct UnevenHandler {
    handled: AtomicUsize,
    redelivered: AtomicUsize,
    running: AtomicUsize,
    most_running: AtomicUsize,
}

impl Handler for UnevenHandler {
    async fn handle(&self, batch: Vec<Delivery>) -> Vec<Outcome> {
        let running = self.running.fetch_add(1, Ordering::Relaxed) + 1;
        self.most_running.fetch_max(running, Ordering::Relaxed);
        let begun = self.handled.fetch_add(batch.len(), Ordering::Relaxed);
        if begun % 150 < 3 {
            // Long enough to count as stuck: others overtake it.
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
        self.running.fetch_sub(1, Ordering::Relaxed);
        let redelivered = batch.iter().filter(|it| it.redelivered).count();
        self.redelivered.fetch_add(redelivered, Ordering::Relaxed);
        vec![Outcome::Done; batch.len()]
    }
}

/// A frame that acknowledges many must not be overtaken by one that it covers: the broker ends the
/// channel, and delivers again what is not acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_that_end_in_any_order_are_acknowledged_once() {
    const COUNT: usize = 3000;
    in_namespace(|namespace| async move {
        let publisher = namespace.publisher().await;
        let messages = (0..COUNT).map(|number| {
            let mut message = message_to(Exchange::Commands, topology::ORDER_CREATE);
            message.body = number.to_string().into();
            publisher.publish(message, DEADLINE)
        });
        let published = futures_util::stream::iter(messages).buffer_unordered(100);
        let published: Vec<_> = published.collect().await;
        assert!(published.iter().all(Result::is_ok));
        let handler = Arc::new(UnevenHandler::default());
        let limits = ConsumerLimits { batch_max: 3, batches_in_flight: 16, ..CONSUMER };
        let consumer = namespace.consume(Queue::Orders, limits, &handler).await;
        eventually("all are handled", || handler.handled.load(Ordering::Relaxed) >= COUNT).await;
        consumer.stop().await;
        assert!(handler.most_running.load(Ordering::Relaxed) > 1, "none overtook another");
        assert_eq!(handler.redelivered.load(Ordering::Relaxed), 0);
        assert_eq!(handler.handled.load(Ordering::Relaxed), COUNT);
        namespace.raw_client().await.wait_for_count(&namespace.name("orders"), 0).await;
    })
    .await;
}

/// Panics on one body, and answers with too few outcomes on another.
#[derive(Default)]
struct FaultyHandler {
    done: Mutex<Vec<String>>,
}

impl Handler for FaultyHandler {
    async fn handle(&self, batch: Vec<Delivery>) -> Vec<Outcome> {
        let bodies: Vec<_> =
            batch.iter().map(|it| String::from_utf8(it.body.to_vec()).unwrap()).collect();
        assert!(!bodies.iter().any(|body| body == "poison"), "poison");
        if bodies.iter().any(|body| body == "confusing") {
            return Vec::new();
        }
        let outcomes = vec![Outcome::Done; bodies.len()];
        self.done.lock().unwrap().extend(bodies);
        outcomes
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn panic_parks_its_delivery_and_spares_the_others() {
    in_namespace(|namespace| async move {
        let publisher = namespace.publisher().await;
        for body in ["a", "b", "poison", "c", "confusing", "d"] {
            let mut message = message_to(Exchange::Commands, topology::ORDER_CREATE);
            message.body = body.into();
            publisher.publish(message, SHORT).await.unwrap();
        }
        let handler = Arc::new(FaultyHandler::default());
        // One attempt only: a retry would take five seconds.
        let limits = ConsumerLimits { attempts_max: 1, ..CONSUMER };
        let consumer = namespace.consume(Queue::Orders, limits, &handler).await;

        let mut raw = namespace.raw_client().await;
        raw.wait_for_count(&namespace.name("orders.parked"), 2).await;
        let mut reasons = Vec::new();
        for _ in 0..2 {
            let parked = raw.next_message(&namespace.name("orders.parked")).await;
            let body = String::from_utf8(parked.body.clone()).unwrap();
            reasons.push((body, parked.text_header("parked_reason")));
        }
        reasons.sort();
        assert_eq!(reasons[0].0, "confusing");
        assert_eq!(reasons[0].1, "handler answered with a wrong number of outcomes");
        assert_eq!(reasons[1], ("poison".into(), "handler panicked".into()));
        eventually("the others are handled", || handler.done.lock().unwrap().len() == 4).await;
        consumer.stop().await;
        handler.done.lock().unwrap().sort();
        assert_eq!(*handler.done.lock().unwrap(), ["a", "b", "c", "d"]);
        raw.wait_for_count(&namespace.name("orders"), 0).await;
    })
    .await;
}

/// Blocks every batch until it gets a permit.
struct BlockingHandler {
    permits: Semaphore,
    running: AtomicUsize,
    most_running: AtomicUsize,
    done: AtomicUsize,
}

impl BlockingHandler {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            permits: Semaphore::new(0),
            running: AtomicUsize::new(0),
            most_running: AtomicUsize::new(0),
            done: AtomicUsize::new(0),
        })
    }
}

impl Handler for BlockingHandler {
    async fn handle(&self, batch: Vec<Delivery>) -> Vec<Outcome> {
        let now = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_running.fetch_max(now, Ordering::SeqCst);
        self.permits.acquire().await.unwrap().forget();
        self.running.fetch_sub(1, Ordering::SeqCst);
        self.done.fetch_add(batch.len(), Ordering::SeqCst);
        vec![Outcome::Done; batch.len()]
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stop_finishes_running_batches_and_requeues_the_rest() {
    in_namespace(|namespace| async move {
        let publisher = namespace.publisher().await;
        for _ in 0..50 {
            publisher
                .publish(message_to(Exchange::Notify, topology::PAYMENT), SHORT)
                .await
                .unwrap();
        }
        let handler = BlockingHandler::new();
        let limits = ConsumerLimits { prefetch: 30, batch_max: 5, ..CONSUMER };
        let consumer = namespace.consume(Queue::Notifications, limits, &handler).await;
        eventually("both batches are running", || handler.running.load(Ordering::SeqCst) == 2)
            .await;
        let mut raw = namespace.raw_client().await;
        raw.wait_for_count(&namespace.name("notifications"), 20).await; // 30 are prefetched

        consumer.stop.cancel();
        let draining = tokio::spawn(consumer.handle.drained());
        let requeued = wait_for_count_in(&mut raw, &namespace.name("notifications"), 40..=48).await;
        assert!(!draining.is_finished(), "two batches are still running");
        handler.permits.add_permits(100);
        draining.await.unwrap();

        let done = handler.done.load(Ordering::SeqCst);
        assert_eq!(u32::try_from(done).unwrap() + requeued, 50, "nothing new was taken meanwhile");
        assert_eq!(handler.most_running.load(Ordering::SeqCst), limits.batches_in_flight);
        // Nothing was left unacknowledged: closing the channel would have requeued that too.
        raw.wait_for_count(&namespace.name("notifications"), requeued).await;
    })
    .await;
}

async fn wait_for_count_in(raw: &mut RawClient, queue: &str, range: RangeInclusive<u32>) -> u32 {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let count = raw.count(queue).await.unwrap();
        if range.contains(&count) {
            return count;
        }
        assert!(Instant::now() < deadline, "{queue} holds {count}, not {range:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// The end of the delivery stream is no shutdown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_queue_is_declared_and_consumed_again() {
    in_namespace(|namespace| async move {
        let handler = Recorder::new(|_| Outcome::Done);
        let consumer = namespace.consume(Queue::Notifications, CONSUMER, &handler).await;
        let publisher = namespace.publisher().await;
        publisher.publish(message_to(Exchange::Notify, topology::PAYMENT), SHORT).await.unwrap();
        eventually("the first is handled", || handler.count() == 1).await;

        let mut raw = namespace.raw_client().await;
        let queue = namespace.name("notifications");
        raw.channel.queue_delete(queue.as_str().into(), Default::default()).await.unwrap();
        let deadline = Instant::now() + DEADLINE;
        while raw.count(&queue).await.is_none() {
            assert!(Instant::now() < deadline, "the queue was not declared again");
            sleep(Duration::from_millis(20)).await;
        }
        eventually("messages are handled again", || {
            let publisher = publisher.clone();
            tokio::spawn(async move {
                let message = message_to(Exchange::Notify, topology::PAYMENT);
                let _ = publisher.publish(message, SHORT).await;
            });
            handler.count() > 1
        })
        .await;
        consumer.stop().await;
    })
    .await;
}
