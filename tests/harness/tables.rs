//! What a test looks up in the tables: what was kept of a notification, and how an order moved.

use std::iter::repeat_n;

use broker::Queue;
use reqwest::StatusCode;
use serde_json::Value;
use sqlx::Row;
use tokio_util::sync::CancellationToken;
use wechatpay_v2::notification_answer;

use crate::amqp::{Amqp, header};
use crate::{World, eventually};

/// A notification as it was kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoredNotification {
    pub verdict: String,
    /// How often the same bytes came again.
    pub repeats: i32,
}

impl StoredNotification {
    pub fn new(verdict: &str, repeats: i32) -> Self {
        Self { verdict: verdict.to_owned(), repeats }
    }
}

/// Stopping gives back what was not begun, so another look may be needed; many never are.
const LOOKS_MAX: usize = 10;

impl World {
    /// What was kept of these very bytes.
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

    /// What was kept of the notifications about a number, ordered by verdict.
    pub async fn stored_notifications(&self, out_trade_no: &str) -> Vec<StoredNotification> {
        let rows = "select verdict, repeats from notifications where out_trade_no = $1
            order by verdict, repeats";
        let rows =
            sqlx::query(rows).bind(out_trade_no).fetch_all(&self.environment.pool).await.unwrap();
        let kept = rows.iter().map(|row| StoredNotification {
            verdict: row.get("verdict"),
            repeats: row.get("repeats"),
        });
        kept.collect()
    }

    /// Waits until exactly this was kept of the notifications about a number.
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

    /// How an order moved, as `state by source`.
    pub async fn transitions(&self, out_trade_no: &str) -> Vec<String> {
        let moves = "select to_state || ' by ' || source from order_transitions
            where out_trade_no = $1 order by mch_id, seq";
        sqlx::query_scalar(moves)
            .bind(out_trade_no)
            .fetch_all(&self.environment.pool)
            .await
            .unwrap()
    }

    /// Waits until a number's moves were told as exactly these types, by `seq`.
    pub async fn expect_events(&self, out_trade_no: &str, types: &[&str]) {
        let what = format!("the events of {out_trade_no} to be {types:?}");
        eventually(&what, async || {
            (self.events.transition_types(out_trade_no) == types).then_some(())
        })
        .await;
    }

    /// Waits for the events of exceptions about a number, of that many different ones, and returns
    /// what they say of each, ordered by kind.
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

    /// Posts a payment notification that is taken: answered with 200 and the very bytes that stop
    /// WeChat's repeats.
    pub async fn notify_ok(&self, mch_id: &str, body: &[u8]) {
        let answer = self.notify(mch_id, body.to_vec()).await;
        assert_eq!(answer, (StatusCode::OK, notification_answer::SUCCESS.to_owned()));
    }

    /// The reasons of the messages that are parked behind a queue. They stay parked.
    pub async fn parked_reasons(&self, queue: Queue) -> Vec<String> {
        let amqp = Amqp::connect(&self.environment).await;
        let parked = amqp.qualified_name(&format!("{}.parked", queue.name()));
        let found = amqp.peek_all(&parked).await;
        amqp.close().await;
        let reason = |message| header(message, "parked_reason").expect("a reason");
        found.iter().map(reason).collect()
    }

    /// Returns when everything that was on a queue has been dealt with, to its end: queues tell
    /// nothing of what a worker holds, so the workers are stopped, and as many started again.
    pub async fn process_queues(&mut self) {
        let workers = self.workers.len().max(1);
        for _ in 0..LOOKS_MAX {
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
        panic!("what the workers give back never gets done");
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
        let kept = |queue: &str| queue.ends_with(".parked") || queue.ends_with(".unrouted");
        let work = depths.iter().filter(|depth| !kept(&depth.queue));
        work.map(|depth| depth.messages).sum()
    }
}
