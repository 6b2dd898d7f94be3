//! Reads the tables: stored notifications, transitions and queues.

use std::iter::repeat_n;

use broker::Queue;
use reqwest::StatusCode;
use serde_json::Value;
use sqlx::Row;
use tokio_util::sync::CancellationToken;
use wechatpay_v2::notification_answer;

use crate::amqp::{Amqp, header};
use crate::{World, eventually};

/// A row of `notifications`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoredNotification {
    pub verdict: String,
    /// How often the same bytes arrived again.
    pub repeats: i32,
}

impl StoredNotification {
    pub fn new(verdict: &str, repeats: i32) -> Self {
        Self { verdict: verdict.to_owned(), repeats }
    }
}

/// A stopping worker requeues messages that it has not started, so one attempt may not be enough.
const ATTEMPTS_MAX: usize = 10;

impl World {
    /// The stored notification with exactly these bytes.
    pub async fn stored_notification(&self, body: &[u8]) -> Option<StoredNotification> {
        let row = sqlx::query("select verdict, repeats from notifications where raw = $1")
            .bind(body)
            .fetch_optional(&self.environment.pool)
            .await
            .unwrap();
        row.map(|row| StoredNotification {
            verdict: row.get("verdict"),
            repeats: row.get("repeats"),
        })
    }

    /// The stored notifications of an order, by verdict.
    pub async fn stored_notifications(&self, out_trade_no: &str) -> Vec<StoredNotification> {
        let rows = "select verdict, repeats from notifications where out_trade_no = $1
            order by verdict, repeats";
        let rows =
            sqlx::query(rows).bind(out_trade_no).fetch_all(&self.environment.pool).await.unwrap();
        let stored = rows.iter().map(|row| StoredNotification {
            verdict: row.get("verdict"),
            repeats: row.get("repeats"),
        });
        stored.collect()
    }

    /// Waits until exactly these notifications of an order are stored.
    pub async fn expect_stored_notifications(
        &self,
        out_trade_no: &str,
        expected: &[StoredNotification],
    ) {
        let what = format!("the notifications of {out_trade_no} to be {expected:?}");
        eventually(&what, async || {
            (self.stored_notifications(out_trade_no).await == expected).then_some(())
        })
        .await;
    }

    /// The transitions of an order, as `state by source`.
    pub async fn transition_labels(&self, out_trade_no: &str) -> Vec<String> {
        let transitions = "select to_state || ' by ' || source from order_transitions
            where out_trade_no = $1 order by mch_id, seq";
        sqlx::query_scalar(transitions)
            .bind(out_trade_no)
            .fetch_all(&self.environment.pool)
            .await
            .unwrap()
    }

    /// Waits until the events of an order's transitions have exactly these types, by `seq`.
    pub async fn expect_events(&self, out_trade_no: &str, types: &[&str]) {
        let what = format!("the events of {out_trade_no} to be {types:?}");
        eventually(&what, async || {
            (self.events.transition_types(out_trade_no) == types).then_some(())
        })
        .await;
    }

    /// Waits until this many exceptions of an order are published, and returns their events, by kind.
    pub async fn exception_events(&self, out_trade_no: &str, count: usize) -> Vec<Value> {
        let what = format!("{count} exceptions of {out_trade_no}");
        let mut opened = eventually(&what, async || {
            let mut events = self.events.distinct(out_trade_no);
            events.retain(|event| event["type"] == "exception.opened");
            (events.len() >= count).then_some(events)
        })
        .await;
        assert_eq!(opened.len(), count, "{opened:#?}");
        opened.sort_by_key(|event| event["exception"]["kind"].to_string());
        opened
    }

    /// Posts a payment notification and expects the answer that stops WeChat's repeats.
    pub async fn notify_ok(&self, mch_id: &str, body: &[u8]) {
        let answer = self.notify(mch_id, body.to_vec()).await;
        assert_eq!(answer, (StatusCode::OK, notification_answer::SUCCESS.to_owned()));
    }

    /// The reasons of the messages that are parked for a queue. They stay parked.
    pub async fn parked_reasons(&self, queue: Queue) -> Vec<String> {
        let amqp = Amqp::connect(&self.environment).await;
        let parked = amqp.qualified_name(&format!("{}.parked", queue.name()));
        let found = amqp.peek_all(&parked).await;
        amqp.close().await;
        let reason = |message| header(message, "parked_reason").expect("a reason");
        found.iter().map(reason).collect()
    }

    /// Waits until the workers have processed every queued message. The depth of a queue does not
    /// count unacknowledged messages, so the workers are stopped, and as many started again.
    pub async fn process_queues(&mut self) {
        let workers = self.workers.len().max(1);
        for _ in 0..ATTEMPTS_MAX {
            if self.workers.is_empty() {
                self.add_worker().await;
            }
            self.wait_until_idle().await;
            self.stop_workers().await;
            let waiting = self.queued_messages().await;
            for () in repeat_n((), workers) {
                self.add_worker().await;
            }
            if waiting == 0 {
                return;
            }
        }
        panic!("the workers requeue messages and never process them");
    }

    /// How many messages wait for a worker.
    pub async fn queued_messages(&self) -> u32 {
        let stop = CancellationToken::new();
        let config = self.environment.broker_config("test depths");
        let connection = broker::Connection::start(config, broker::Setup::Check, stop.clone());
        let depths =
            eventually("depths", async || broker::queue_depths(&connection).await.ok()).await;
        stop.cancel();
        connection.closed().await;
        let is_dead_letter =
            |queue: &str| queue.ends_with(".parked") || queue.ends_with(".unrouted");
        let work = depths.iter().filter(|depth| !is_dead_letter(&depth.queue));
        work.map(|depth| depth.messages).sum()
    }
}
