//! Requests and replies by direct reply-to.

use std::sync::Arc;
use std::time::Duration;

use broker::{Delivery, Exchange, Handler, Outcome, Queue, Replier, Requester, topology};
use bytes::Bytes;
use futures_util::future::join_all;
use tokio::time::Instant;

use crate::support::{CONSUMER, LIMITS, SHORT, in_namespace, message_to};

/// Replies to every request with its own body.
struct Echo(Replier);

impl Handler for Echo {
    async fn handle(&self, batch: Vec<Delivery>) -> Vec<Outcome> {
        for request in &batch {
            let reply_to = request.reply_to.as_deref().expect("a request has a reply_to");
            self.0.send(reply_to, request.correlation_id.as_deref(), request.body.clone());
        }
        vec![Outcome::Done; batch.len()]
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_requester_receives_its_own_reply() {
    in_namespace(|namespace| async move {
        let requester = Requester::start(namespace.connection().await, LIMITS);
        let handler = Arc::new(Echo(Replier::start(namespace.connection().await)));
        let consumer = namespace.consume(Queue::Queries, CONSUMER, &handler).await;
        let requests = (0..200).map(|number| {
            let requester = requester.clone();
            async move {
                let mut request = message_to(Exchange::Commands, topology::ORDER_QUERY);
                request.body = number.to_string().into();
                let reply = requester.request(request, SHORT).await.unwrap().wait(SHORT).await;
                assert_eq!(reply, Some(Bytes::from(number.to_string())));
            }
        });
        join_all(requests).await;
        consumer.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reply_survives_the_delay_of_its_request() {
    in_namespace(|namespace| async move {
        struct Later(Replier);
        impl Handler for Later {
            async fn handle(&self, batch: Vec<Delivery>) -> Vec<Outcome> {
                let act = |delivery: &Delivery| match delivery.attempt {
                    1 => Outcome::Retry { reason: "not yet".into() },
                    _ => {
                        let reply_to = delivery.reply_to.as_deref().unwrap();
                        self.0.send(reply_to, delivery.correlation_id.as_deref(), "late".into());
                        Outcome::Done
                    }
                };
                batch.iter().map(act).collect()
            }
        }
        let requester = Requester::start(namespace.connection().await, LIMITS);
        let handler = Arc::new(Later(Replier::start(namespace.connection().await)));
        let consumer = namespace.consume(Queue::Orders, CONSUMER, &handler).await;
        let pending =
            requester.request(message_to(Exchange::Commands, topology::ORDER_CREATE), SHORT).await;
        let reply = pending.unwrap().wait(Duration::from_secs(20)).await;
        assert_eq!(reply, Some("late".into()));
        consumer.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reply_is_none_after_the_deadline() {
    in_namespace(|namespace| async move {
        let requester = Requester::start(namespace.connection().await, LIMITS);
        let request = message_to(Exchange::Commands, topology::ORDER_QUERY);
        let pending = requester.request(request, SHORT).await.unwrap();
        let started = Instant::now();
        assert_eq!(pending.wait(Duration::from_millis(100)).await, None);
        assert!(started.elapsed() < SHORT);
    })
    .await;
}

/// Whatever a shop writes into `reply_to`, the next reply is still sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalid_reply_to_does_not_break_the_channel() {
    in_namespace(|namespace| async move {
        let replier = Replier::start(namespace.connection().await);
        let mut raw = namespace.raw_client().await;
        let queue = raw.bind_queue(&namespace, "unused", &[]).await;
        let own_queue = namespace.name("orders");
        let long = "x".repeat(300);
        for invalid in [
            "",
            "missing",
            "amq.rabbitmq.reply-to",
            "amq.rabbitmq.reply-to.invalid",
            &own_queue,
            &long,
        ] {
            replier.send(invalid, Some(&long), "lost".into());
            replier.send(invalid, None, "lost".into());
        }
        replier.send(&queue, Some("c"), "found".into());
        let received = raw.next_message(&queue).await;
        assert_eq!(received.body, b"found");
        assert_eq!(*received.properties.delivery_mode(), Some(1));
        assert_eq!(received.properties.correlation_id().as_ref().unwrap().as_str(), "c");
        raw.wait_for_count(&namespace.name("orders"), 0).await;
    })
    .await;
}
