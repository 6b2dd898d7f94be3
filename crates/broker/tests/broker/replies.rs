//! Questions and answers by direct reply-to.

use std::{sync::Arc, time::Duration};

use crate::support::{CONSUMER, LIMITS, SHORT, on_site, to};
use broker::{Delivery, Exchange, Handler, Outcome, Queue, Replier, Requester, topology};
use bytes::Bytes;
use futures_util::future::join_all;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Answers every question with its own body.
struct Echo(Replier);

impl Handler for Echo {
    async fn handle(&self, batch: Vec<Delivery>) -> Vec<Outcome> {
        for question in &batch {
            let reply_to = question.reply_to.as_deref().expect("a question says who asks");
            self.0.send(reply_to, question.correlation_id.as_deref(), question.body.clone());
        }
        vec![Outcome::Done; batch.len()]
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_asker_gets_their_own_answer() {
    on_site(|site| async move {
        let requester = Requester::start(site.connection().await, LIMITS);
        let (handler, stop) =
            (Arc::new(Echo(Replier::start(site.connection().await))), CancellationToken::new());
        let consumer = site.consume(Queue::Queries, CONSUMER, &handler, &stop).await;
        let asking = (0..200).map(|number| {
            let requester = requester.clone();
            async move {
                let mut question = to(Exchange::Commands, topology::ORDER_QUERY);
                question.body = number.to_string().into();
                let answer = requester.request(question, SHORT).await.unwrap().wait(SHORT).await;
                assert_eq!(answer, Some(Bytes::from(number.to_string())));
            }
        });
        join_all(asking).await;
        stop.cancel();
        consumer.drained().await;
    })
    .await;
}

/// The other way: the question is a command that must not be lost, its answer may be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_survives_the_delay_of_its_question() {
    on_site(|site| async move {
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
        let requester = Requester::start(site.connection().await, LIMITS);
        let (handler, stop) =
            (Arc::new(Later(Replier::start(site.connection().await))), CancellationToken::new());
        let consumer = site.consume(Queue::Orders, CONSUMER, &handler, &stop).await;
        let pending =
            requester.request(to(Exchange::Commands, topology::ORDER_CREATE), SHORT).await;
        let answer = pending.unwrap().wait(Duration::from_secs(20)).await;
        assert_eq!(answer, Some("late".into()));
        stop.cancel();
        consumer.drained().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_in_time_is_none() {
    on_site(|site| async move {
        let requester = Requester::start(site.connection().await, LIMITS);
        let question = to(Exchange::Commands, topology::ORDER_QUERY);
        let pending = requester.request(question, SHORT).await.unwrap();
        let started = Instant::now();
        assert_eq!(pending.wait(Duration::from_millis(100)).await, None);
        assert!(started.elapsed() < SHORT);
    })
    .await;
}

/// Whatever a shop writes into `reply_to`, the next answer still goes out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_senseless_reply_to_harms_nobody() {
    on_site(|site| async move {
        let replier = Replier::start(site.connection().await);
        let mut eyes = site.eyes().await;
        let queue = eyes.listen(&site, "nothing", &[]).await;
        let ours = site.name("orders");
        let long = "x".repeat(300);
        for nonsense in
            ["", "nobody", "amq.rabbitmq.reply-to", "amq.rabbitmq.reply-to.nonsense", &ours, &long]
        {
            replier.send(nonsense, Some(&long), "lost".into());
            replier.send(nonsense, None, "lost".into());
        }
        replier.send(&queue, Some("c"), "found".into());
        let found = eyes.take(&queue).await;
        assert_eq!(found.body, b"found");
        assert_eq!(*found.properties.delivery_mode(), Some(1));
        assert_eq!(found.properties.correlation_id().as_ref().unwrap().as_str(), "c");
        eyes.reaches_count(&site.name("orders"), 0).await;
    })
    .await;
}
