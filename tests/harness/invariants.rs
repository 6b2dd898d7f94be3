//! What must hold when the system is quiet (design 10).

use std::collections::{BTreeSet, HashMap, HashSet};

use bytes::Bytes;
use serde_json::Value;
use simulator::{AttemptOutcome, Handle};
use sqlx::{PgPool, Row};
use tokio_util::sync::CancellationToken;

use crate::{World, eventually};

/// What does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub out_trade_no: Option<String>,
    pub what: String,
}

impl Violation {
    fn of(out_trade_no: &str, what: impl Into<String>) -> Self {
        Self { out_trade_no: Some(out_trade_no.to_owned()), what: what.into() }
    }
}

/// The books of a system that is quiet, beside those of the gateway and of the shops.
pub struct Audit<'a> {
    pub pool: &'a PgPool,
    pub simulator: &'a Handle,
    /// Numbers that were answered with 2xx.
    pub accepted: &'a BTreeSet<(String, String)>,
    /// The broker has lost its data: what it alone knew is gone.
    pub broker_was_lost: bool,
}

impl Audit<'_> {
    /// 1, 2 and 4, which the tables answer.
    pub async fn violations(&self) -> Vec<Violation> {
        let mut violations = self.paid_but_not_booked().await;
        violations.extend(self.broken_histories().await);
        violations.extend(self.acknowledged_but_lost().await);
        violations
    }

    /// 1. Paid there is paid here, once, or an exception says why not.
    async fn paid_but_not_booked(&self) -> Vec<Violation> {
        let booked = "select mch_id, out_trade_no, transaction_id, total_fee from orders
            where state = 'paid'";
        let booked = sqlx::query(booked).fetch_all(self.pool).await.unwrap();
        let booked: HashSet<(String, String, String, i64)> =
            booked.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect();
        let explained = "select mch_id, out_trade_no from exceptions";
        let explained = sqlx::query(explained).fetch_all(self.pool).await.unwrap();
        let explained: HashSet<(String, String)> =
            explained.iter().map(|row| (row.get(0), row.get(1))).collect();
        let mut violations = Vec::new();
        for order in self.simulator.orders() {
            let (mch_id, number) = (order.mch_id.clone(), order.out_trade_no.clone());
            let key = |id: &str| (mch_id.clone(), number.clone(), id.to_owned());
            let ids: Vec<String> =
                order.payments.into_iter().map(|payment| payment.transaction_id).collect();
            let is_booked = |id: &&String| {
                let (mch_id, number, id) = key(id);
                booked.contains(&(mch_id, number, id, order.total_fee))
            };
            // Of a second payment nothing but its notification tells, which may be lost with the
            // broker.
            let is_explained = explained.contains(&(mch_id.clone(), number.clone()))
                || (self.broker_was_lost && ids.iter().any(|id| is_booked(&id)));
            for id in ids.iter().filter(|id| !is_booked(id) && !is_explained) {
                violations.push(Violation::of(&number, format!("lost: {id} is not booked")));
            }
        }
        violations
    }

    /// Booked here, and never paid there. A flow may have a payment told by whoever has the key,
    /// which is believed; where nobody does that, this must hold, too.
    pub async fn booked_but_not_paid(&self) -> Vec<Violation> {
        let orders = self.simulator.orders().into_iter();
        let paid: HashSet<String> = orders
            .flat_map(|order| order.payments.into_iter().map(|payment| payment.transaction_id))
            .collect();
        let booked = "select out_trade_no, transaction_id from orders where state = 'paid'";
        let booked = sqlx::query(booked).fetch_all(self.pool).await.unwrap();
        let booked = booked.iter().map(|row| (row.get::<String, _>(0), row.get::<String, _>(1)));
        let wrong = booked.filter(|(_, id)| !paid.contains(id));
        wrong
            .map(|(number, id)| {
                Violation::of(&number, format!("doubled: {id} was never paid there"))
            })
            .collect()
    }

    /// 2. No gap and nothing twice in a history that ends where the order stands; once to `paid`,
    ///    and never away from it.
    async fn broken_histories(&self) -> Vec<Violation> {
        let broken = "select o.out_trade_no, 'its history has a gap' from orders o
            left join order_transitions t using (mch_id, out_trade_no)
            group by o.mch_id, o.out_trade_no
            having count(t.seq) <> o.seq or min(t.seq) <> 1 or max(t.seq) <> o.seq
                or (array_agg(t.to_state order by t.seq desc))[1] <> o.state
            union all
            select a.out_trade_no, 'its history does not join' from order_transitions a
            join order_transitions b
                on (a.mch_id, a.out_trade_no, a.seq + 1) = (b.mch_id, b.out_trade_no, b.seq)
            where a.to_state <> b.from_state
            union all
            select out_trade_no, 'doubled: paid more than once' from order_transitions
            where to_state = 'paid' group by mch_id, out_trade_no having count(*) > 1
            union all
            select out_trade_no, 'it left paid' from order_transitions where from_state = 'paid'
            union all
            select min(out_trade_no), 'doubled: one transaction_id on several orders' from orders
            where transaction_id is not null group by transaction_id having count(*) > 1";
        let broken = sqlx::query(broken).fetch_all(self.pool).await.unwrap();
        broken.iter().map(|row| Violation::of(row.get(0), row.get::<String, _>(1))).collect()
    }

    /// 4. A `SUCCESS` to WeChat and a 2xx to a shop stand for something.
    async fn acknowledged_but_lost(&self) -> Vec<Violation> {
        let mut violations = Vec::new();
        let kept = "select distinct out_trade_no from notifications where out_trade_no is not null";
        let kept: Vec<String> = sqlx::query_scalar(kept).fetch_all(self.pool).await.unwrap();
        let kept: HashSet<String> = kept.into_iter().collect();
        for order in self.simulator.orders() {
            let (mch_id, number) = (order.mch_id.as_str(), &order.out_trade_no);
            for told in self.simulator.notifications(mch_id, number) {
                let success = told.attempts.iter().any(|a| a.outcome == AttemptOutcome::Success);
                // What a lost broker had of it was found by a query; the first rule sees to that.
                if success && !kept.contains(number) && !self.broker_was_lost {
                    violations
                        .push(Violation::of(number, "lost: an answered notification is gone"));
                }
            }
        }
        let stands = "select mch_id, out_trade_no from orders
            union select mch_id, out_trade_no from rejections";
        let stands = sqlx::query(stands).fetch_all(self.pool).await.unwrap();
        let stands: HashSet<(String, String)> =
            stands.iter().map(|row| (row.get(0), row.get(1))).collect();
        let gone = self.accepted.iter().filter(|key| !stands.contains(*key));
        violations.extend(gone.map(|(_, number)| Violation::of(number, "lost: it was accepted")));
        violations
    }

    /// 3. Every transition, exception and rejection was told, in the stored bytes, under one id,
    ///    and nothing else was.
    pub async fn unpublished(&self, told: &[Bytes]) -> Vec<Violation> {
        let rows = "select event_id::text, event_body, out_trade_no from order_transitions
            union all select event_id::text, event_body, out_trade_no from exceptions
            union all select event_id::text, event_body, out_trade_no from rejections";
        let rows = sqlx::query(rows).fetch_all(self.pool).await.unwrap();
        let stored: HashMap<String, (String, String)> =
            rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect();
        let ids: HashSet<String> = told.iter().map(id_of).collect();
        let unpublished = stored.iter().filter(|(id, _)| !ids.contains(*id));
        let unpublished =
            unpublished.map(|(id, (_, number))| (number, format!("lost: event {id}")));
        let mut violations: Vec<_> =
            unpublished.map(|(number, what)| Violation::of(number, what)).collect();
        for body in told {
            let id = id_of(body);
            let same = stored.get(&id).is_some_and(|(stored, _)| stored.as_bytes() == &body[..]);
            if !same {
                let what = format!("event {id} was told and does not stand so in the tables");
                violations.push(Violation { out_trade_no: None, what });
            }
        }
        violations
    }
}

impl World {
    /// Waits until nothing is left to do: empty work and delay queues, an empty outbox, and every
    /// event seen.
    pub async fn wait_until_idle(&self) {
        let stop = CancellationToken::new();
        let config = self.environment.broker_config("test depths");
        let connection = broker::Connection::start(config, broker::Setup::Check, stop.clone());
        eventually("quiet", async || {
            let depths = broker::queue_depths(&connection).await.ok()?;
            let busy = depths.iter().any(|depth| {
                let kept = depth.queue.ends_with(".parked") || depth.queue.ends_with(".unrouted");
                depth.messages > 0 && !kept
            });
            let outbox = "select count(*) from outbox";
            let outbox: i64 =
                sqlx::query_scalar(outbox).fetch_one(&self.environment.pool).await.unwrap();
            (!busy && outbox == 0).then_some(())
        })
        .await;
        stop.cancel();
        connection.closed().await;
    }

    /// Called when everything is stopped: what is unacked then stands in its queue again.
    pub(crate) async fn check_invariants(&self) {
        let accepted = self.accepted.lock().unwrap().clone();
        let (pool, simulator) = (&self.environment.pool, &self.simulator);
        let broker_was_lost = self.broker_was_lost;
        let audit = Audit { pool, simulator, accepted: &accepted, broker_was_lost };
        let violations = audit.violations().await;
        if let Some(first) = violations.first() {
            let number = first.out_trade_no.as_deref();
            let story = number.map(|number| self.logs.about(number)).unwrap_or_default();
            panic!("{violations:#?}\n{story}");
        }
        eventually("every event", async || {
            let unpublished = audit.unpublished(&self.events.bodies()).await;
            let wrong: Vec<_> = unpublished.iter().filter(|it| it.out_trade_no.is_none()).collect();
            assert!(wrong.is_empty(), "{wrong:#?}");
            unpublished.is_empty().then_some(())
        })
        .await;
        self.check_nothing_left().await;
        self.check_logs().await;
    }

    /// 5. Nothing is unacked, unpublished, or parked that the test does not know of.
    async fn check_nothing_left(&self) {
        let stop = CancellationToken::new();
        let config = self.environment.broker_config("test depths");
        let connection = broker::Connection::start(config, broker::Setup::Check, stop.clone());
        let is_parked = |queue: &str| queue.ends_with(".parked");
        // A quorum queue counts what came or went a moment later.
        let what = format!("{} parked messages and no other", self.parked_expected);
        eventually(&what, async || {
            let depths = broker::queue_depths(&connection).await.ok()?;
            let left = depths.iter().any(|depth| depth.messages > 0 && !is_parked(&depth.queue));
            let parked = depths.iter().filter(|depth| is_parked(&depth.queue));
            let parked: u32 = parked.map(|depth| depth.messages).sum();
            (!left && parked == self.parked_expected).then_some(())
        })
        .await;
        stop.cancel();
        connection.closed().await;
        let outbox: i64 = sqlx::query_scalar("select count(*) from outbox")
            .fetch_one(&self.environment.pool)
            .await
            .unwrap();
        assert_eq!(outbox, 0, "unpublished events");
    }

    /// 6. No key, openid, signature or body in any log line.
    async fn check_logs(&self) {
        let lines = self.logs.lines();
        let guilty = self.lines_with_secrets(lines.iter().map(String::as_str)).await;
        assert!(guilty.is_empty(), "secrets in the log: {guilty:#?}");
    }
}

fn id_of(body: &Bytes) -> String {
    let event: Value = serde_json::from_slice(body).unwrap();
    event["id"].as_str().unwrap().to_owned()
}
