//! Taking deliveries: batches, bounds, stopping, and what a bad handler can do.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::support::{CONSUMER, SHORT, eventually, on_site, recorder::Recorder, to};
use broker::{ConsumerLimits, Delivery, Exchange, Handler, Outcome, Queue, topology};
use tokio::{sync::Semaphore, time::Instant};
use tokio_util::sync::CancellationToken;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_done_is_gone() {
    on_site(|site| async move {
        let publisher = site.publisher().await;
        for number in 0..300 {
            let mut message = to(Exchange::Commands, topology::ORDER_CREATE);
            message.body = number.to_string().into();
            message.headers = vec![("mch_id".into(), "1900000109".into())];
            publisher.publish(message, SHORT).await.unwrap();
        }
        let (handler, stop) = (Recorder::new(|_| Outcome::Done), CancellationToken::new());
        let consumer = site.consume(Queue::Orders, CONSUMER, &handler, &stop).await;
        eventually("all are handled", || handler.count() == 300).await;
        stop.cancel();
        consumer.drained().await;

        assert_eq!(handler.distinct().len(), 300);
        assert!(handler.largest_batch() > 1 && handler.largest_batch() <= CONSUMER.batch_max);
        let first = &handler.seen()[0];
        assert_eq!((first.routing_key.as_str(), first.attempt), ("order.create", 1));
        assert_eq!(first.header("mch_id"), Some("1900000109"));
        assert_eq!(first.message_id.unwrap().to_string(), first.message_id_text.clone().unwrap());
        assert_eq!(first.content_type.as_deref(), Some("application/json"));
        assert_eq!(first.kind.as_deref(), Some("order.create"));
        assert!(!first.redelivered && first.timestamp_seconds.is_some());
        site.eyes().await.reaches_count(&site.name("orders"), 0).await;
    })
    .await;
}

/// Panics on one body, and answers with too few outcomes on another.
#[derive(Default)]
struct Moody {
    done: Mutex<Vec<String>>,
}

impl Handler for Moody {
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
async fn a_panic_parks_its_cause_and_spares_the_neighbours() {
    on_site(|site| async move {
        let publisher = site.publisher().await;
        for body in ["a", "b", "poison", "c", "confusing", "d"] {
            let mut message = to(Exchange::Commands, topology::ORDER_CREATE);
            message.body = body.into();
            publisher.publish(message, SHORT).await.unwrap();
        }
        let (handler, stop) = (Arc::new(Moody::default()), CancellationToken::new());
        // One attempt only: a retry would take five seconds.
        let limits = ConsumerLimits { attempts_max: 1, ..CONSUMER };
        let consumer = site.consume(Queue::Orders, limits, &handler, &stop).await;

        let mut eyes = site.eyes().await;
        eyes.reaches_count(&site.name("orders.parked"), 2).await;
        let mut reasons = Vec::new();
        for _ in 0..2 {
            let parked = eyes.take(&site.name("orders.parked")).await;
            let body = String::from_utf8(parked.body.clone()).unwrap();
            reasons.push((body, parked.text_header("parked_reason")));
        }
        reasons.sort();
        assert_eq!(reasons[0].0, "confusing");
        assert_eq!(reasons[0].1, "handler answered with a wrong number of outcomes");
        assert_eq!(reasons[1], ("poison".into(), "handler panicked".into()));
        eventually("the others are done", || handler.done.lock().unwrap().len() == 4).await;
        stop.cancel();
        consumer.drained().await;
        handler.done.lock().unwrap().sort();
        assert_eq!(*handler.done.lock().unwrap(), ["a", "b", "c", "d"]);
        eyes.reaches_count(&site.name("orders"), 0).await;
    })
    .await;
}

/// Holds every batch until it is let go.
struct Gate {
    open: Semaphore,
    inside: AtomicUsize,
    most_inside: AtomicUsize,
    done: AtomicUsize,
}

impl Gate {
    fn closed() -> Arc<Self> {
        Arc::new(Self {
            open: Semaphore::new(0),
            inside: AtomicUsize::new(0),
            most_inside: AtomicUsize::new(0),
            done: AtomicUsize::new(0),
        })
    }
}

impl Handler for Gate {
    async fn handle(&self, batch: Vec<Delivery>) -> Vec<Outcome> {
        let now = self.inside.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_inside.fetch_max(now, Ordering::SeqCst);
        self.open.acquire().await.unwrap().forget();
        self.inside.fetch_sub(1, Ordering::SeqCst);
        self.done.fetch_add(batch.len(), Ordering::SeqCst);
        vec![Outcome::Done; batch.len()]
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_finishes_what_is_in_hand_and_gives_back_the_rest() {
    on_site(|site| async move {
        let publisher = site.publisher().await;
        for _ in 0..50 {
            publisher.publish(to(Exchange::Notify, topology::PAYMENT), SHORT).await.unwrap();
        }
        let (handler, stop) = (Gate::closed(), CancellationToken::new());
        let limits = ConsumerLimits { prefetch: 30, batch_max: 5, ..CONSUMER };
        let consumer = site.consume(Queue::Notifications, limits, &handler, &stop).await;
        eventually("both batches are in hand", || handler.inside.load(Ordering::SeqCst) == 2).await;
        let mut eyes = site.eyes().await;
        eyes.reaches_count(&site.name("notifications"), 20).await; // 30 are on our side

        stop.cancel();
        let draining = tokio::spawn(consumer.drained());
        let back = eyes_count(&mut eyes, &site.name("notifications"), 40..=48).await;
        assert!(!draining.is_finished(), "two batches are still in hand");
        handler.open.add_permits(100);
        draining.await.unwrap();

        let done = handler.done.load(Ordering::SeqCst);
        assert_eq!(u32::try_from(done).unwrap() + back, 50, "nothing new was taken meanwhile");
        assert_eq!(handler.most_inside.load(Ordering::SeqCst), limits.batches_in_flight);
        // Nothing unacked: once the channel is closed that would be back, too.
        eyes.reaches_count(&site.name("notifications"), back).await;
    })
    .await;
}

async fn eyes_count(
    eyes: &mut crate::support::Eyes,
    queue: &str,
    range: std::ops::RangeInclusive<u32>,
) -> u32 {
    let deadline = Instant::now() + crate::support::PATIENCE;
    loop {
        let count = eyes.count(queue).await.unwrap();
        if range.contains(&count) {
            return count;
        }
        assert!(Instant::now() < deadline, "{queue} holds {count}, not {range:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A stream that ends is no shutdown: the queue is declared again and consumed again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_queue_is_declared_and_consumed_again() {
    on_site(|site| async move {
        let (handler, stop) = (Recorder::new(|_| Outcome::Done), CancellationToken::new());
        let consumer = site.consume(Queue::Notifications, CONSUMER, &handler, &stop).await;
        let publisher = site.publisher().await;
        publisher.publish(to(Exchange::Notify, topology::PAYMENT), SHORT).await.unwrap();
        eventually("the first is handled", || handler.count() == 1).await;

        let mut eyes = site.eyes().await;
        let queue = site.name("notifications");
        eyes.channel.queue_delete(queue.as_str().into(), Default::default()).await.unwrap();
        let deadline = Instant::now() + crate::support::PATIENCE;
        while eyes.count(&queue).await.is_none() {
            assert!(Instant::now() < deadline, "the queue was not declared again");
        }
        eventually("what comes is handled again", || {
            let publisher = publisher.clone();
            tokio::spawn(async move {
                let message = to(Exchange::Notify, topology::PAYMENT);
                let _ = publisher.publish(message, SHORT).await;
            });
            handler.count() > 1
        })
        .await;
        stop.cancel();
        consumer.drained().await;
    })
    .await;
}
