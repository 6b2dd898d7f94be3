//! What must hold when the system is quiet (design 10).

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use serde_json::Value;
use simulator::AttemptVerdict;
use sqlx::Row;
use tokio_util::sync::CancellationToken;

use crate::{World, eventually, logs};

impl World {
    /// Waits until nothing is left to do: empty work and delay queues, an empty outbox, and every
    /// event seen.
    pub async fn quiet(&self) {
        let stop = CancellationToken::new();
        let config = self.place.broker_config("test depths");
        let link = broker::Link::start(config, broker::Setup::Check, stop.clone());
        eventually("quiet", async || {
            let depths = broker::depths(&link).await.ok()?;
            let busy = depths.iter().any(|depth| {
                let kept = depth.queue.ends_with(".parked") || depth.queue.ends_with(".unrouted");
                depth.messages > 0 && !kept
            });
            let outbox = "select count(*) from outbox";
            let outbox: i64 = sqlx::query_scalar(outbox).fetch_one(&self.place.pool).await.unwrap();
            (!busy && outbox == 0).then_some(())
        })
        .await;
        stop.cancel();
        link.closed().await;
    }

    /// Called when everything is stopped: what is unacked then stands in its queue again.
    pub(crate) async fn check_invariants(&self) {
        self.paid_at_the_gateway_is_paid_here().await;
        self.history_has_no_gap().await;
        self.every_transition_was_told().await;
        self.every_answer_stands_for_something().await;
        self.nothing_is_left().await;
        self.logs_hold_no_secret();
    }

    /// 1. Paid there is paid here, once, or an exception says why not.
    async fn paid_at_the_gateway_is_paid_here(&self) {
        for order in self.simulator.orders() {
            let order: Value = serde_json::to_value(&order).unwrap();
            let number = order["out_trade_no"].as_str().unwrap();
            for payment in order["payments"].as_array().unwrap() {
                let (id, fee) = (&payment["transaction_id"], &order["total_fee"]);
                let booked = "select count(*) from orders where mch_id = $1 and out_trade_no = $2
                    and state = 'paid' and transaction_id = $3 and total_fee = $4";
                let booked: i64 = sqlx::query_scalar(booked)
                    .bind(order["mch_id"].as_str())
                    .bind(number)
                    .bind(id.as_str())
                    .bind(fee.as_i64())
                    .fetch_one(&self.place.pool)
                    .await
                    .unwrap();
                let explained = !self.exceptions(number).await.is_empty();
                assert!(
                    booked == 1 || explained,
                    "{number} is paid at the gateway and not here:\n{}",
                    logs::about(number)
                );
            }
        }
    }

    /// 2. No gap and nothing twice in a history that ends where the order stands.
    async fn history_has_no_gap(&self) {
        let broken = "select o.out_trade_no from orders o
            left join order_transitions t using (mch_id, out_trade_no)
            group by o.mch_id, o.out_trade_no
            having count(t.seq) <> o.seq or min(t.seq) <> 1 or max(t.seq) <> o.seq
                or (array_agg(t.to_state order by t.seq desc))[1] <> o.state
            union
            select a.out_trade_no from order_transitions a join order_transitions b
                on (a.mch_id, a.out_trade_no, a.seq + 1) = (b.mch_id, b.out_trade_no, b.seq)
            where a.to_state <> b.from_state";
        let broken: Vec<String> =
            sqlx::query_scalar(broken).fetch_all(&self.place.pool).await.unwrap();
        assert!(broken.is_empty(), "histories with a gap: {broken:?}");
    }

    /// 3. Every transition, exception and rejection was told, in the stored bytes, under one id.
    async fn every_transition_was_told(&self) {
        let rows = "select event_id::text as id, event_body as body from order_transitions
            union all select event_id::text, event_body from exceptions
            union all select event_id::text, event_body from rejections";
        let rows = sqlx::query(rows).fetch_all(&self.place.pool).await.unwrap();
        let stored: HashMap<String, String> =
            rows.iter().map(|row| (row.get("id"), row.get("body"))).collect();
        let seen = eventually("every event", async || {
            let bodies = self.events.bodies();
            let ids: HashSet<String> = bodies.iter().map(id_of).collect();
            stored.keys().all(|id| ids.contains(id)).then_some(bodies)
        })
        .await;
        for body in seen {
            let id = id_of(&body);
            assert_eq!(stored.get(&id).map(String::as_bytes), Some(&body[..]), "event {id}");
        }
    }

    /// 4. A `SUCCESS` to WeChat and a 2xx to a shop stand for something.
    async fn every_answer_stands_for_something(&self) {
        for order in self.simulator.orders() {
            let (mch_id, number) = (order.mch_id.as_str(), &order.out_trade_no);
            for told in self.simulator.notifications(mch_id, number) {
                let success = told.attempts.iter().any(|a| a.verdict == AttemptVerdict::Success);
                let kept = "select count(*) from notifications where out_trade_no = $1";
                let kept: i64 = sqlx::query_scalar(kept)
                    .bind(number)
                    .fetch_one(&self.place.pool)
                    .await
                    .unwrap();
                assert!(!success || kept > 0, "an answered notification of {number} is gone");
            }
        }
        let accepted = self.accepted.lock().unwrap().clone();
        for (mch_id, number) in accepted {
            let stands = "select count(*) from (
                select 1 from orders where mch_id = $1 and out_trade_no = $2
                union all select 1 from rejections where mch_id = $1 and out_trade_no = $2) s";
            let stands: i64 = sqlx::query_scalar(stands)
                .bind(&mch_id)
                .bind(&number)
                .fetch_one(&self.place.pool)
                .await
                .unwrap();
            assert!(stands > 0, "the accepted order {number} is gone\n{}", logs::about(&number));
        }
    }

    /// 5. Nothing is unacked, unpublished, or parked that the test does not know of.
    async fn nothing_is_left(&self) {
        let stop = CancellationToken::new();
        let config = self.place.broker_config("test depths");
        let link = broker::Link::start(config, broker::Setup::Check, stop.clone());
        let depths = eventually("depths", async || broker::depths(&link).await.ok()).await;
        stop.cancel();
        link.closed().await;
        let parked = |queue: &str| queue.ends_with(".parked");
        let left: Vec<_> =
            depths.iter().filter(|depth| depth.messages > 0 && !parked(&depth.queue)).collect();
        assert!(left.is_empty(), "left in the broker: {left:?}");
        let kept: u32 =
            depths.iter().filter(|depth| parked(&depth.queue)).map(|depth| depth.messages).sum();
        assert_eq!(kept, self.parked_expected, "parked messages");
        let outbox: i64 = sqlx::query_scalar("select count(*) from outbox")
            .fetch_one(&self.place.pool)
            .await
            .unwrap();
        assert_eq!(outbox, 0, "unpublished events");
    }

    /// 6. No key, openid or signature in any log line.
    fn logs_hold_no_secret(&self) {
        let mut secrets: Vec<String> = Vec::new();
        for merchant in &self.merchants {
            secrets.extend([merchant.key.clone(), merchant.openid.clone()]);
        }
        for body in self.events.bodies() {
            let event: Value = serde_json::from_slice(&body).unwrap();
            let pay = &event["order"]["pay"];
            let signs = [&pay["paySign"], &pay["sign"]];
            secrets.extend(signs.iter().filter_map(|sign| sign.as_str().map(str::to_owned)));
        }
        let guilty = logs::holding(&secrets);
        assert!(guilty.is_empty(), "secrets in the log: {guilty:#?}");
    }
}

fn id_of(body: &Bytes) -> String {
    let event: Value = serde_json::from_slice(body).unwrap();
    event["id"].as_str().unwrap().to_owned()
}
