//! The invariants of an idle system: no payment lost or doubled, every event published, no secret in
//! a log.

use std::collections::{BTreeSet, HashMap, HashSet};

use bytes::Bytes;
use serde_json::Value;
use simulator::{AttemptOutcome, Handle};
use sqlx::{PgPool, Row};
use tokio_util::sync::CancellationToken;

use crate::{World, eventually, eventually_ok};

/// An invariant that does not hold.
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

/// Compares the ledger of an idle system with the gateway's orders and the shops' orders.
pub struct Audit<'a> {
    pub pool: &'a PgPool,
    pub simulator: &'a Handle,
    /// Orders that were answered with 2xx.
    pub accepted: &'a BTreeSet<(String, String)>,
    /// The broker has lost its data, so messages may be missing.
    pub broker_was_lost: bool,
    /// Orders about which a message was sent that is not stored under their number: one in another
    /// merchant's name is only counted, one that cannot be parsed is stored without a number.
    pub told_without_number: &'a BTreeSet<String>,
    /// Orders about which forged messages were sent. Of those a sample is stored.
    pub forged: &'a BTreeSet<String>,
}

/// Notifications that do not verify and are stored, of each merchant and hour.
const SAMPLE_MAX: i64 = 50;

impl Audit<'_> {
    /// Checks the invariants 1, 2 and 4, which need the tables only.
    pub async fn violations(&self) -> Vec<Violation> {
        let mut violations = self.paid_but_not_booked().await;
        violations.extend(self.broken_histories().await);
        violations.extend(self.acknowledged_but_lost().await);
        violations
    }

    /// 1. Every payment at the gateway is booked once, or an exception explains it.
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
            let mch_id = order.mch_id.clone();
            let number = order.out_trade_no.clone();
            let key = |id: &str| (mch_id.clone(), number.clone(), id.to_owned());
            let ids: Vec<String> =
                order.payments.into_iter().map(|payment| payment.transaction_id).collect();
            let is_booked = |id: &&String| {
                let (mch_id, number, id) = key(id);
                booked.contains(&(mch_id, number, id, order.total_fee))
            };
            // Only its notification reports a second payment, and the broker may have lost it.
            let is_explained = explained.contains(&(mch_id.clone(), number.clone()))
                || (self.broker_was_lost && ids.iter().any(|id| is_booked(&id)));
            for id in ids.iter().filter(|id| !is_booked(id) && !is_explained) {
                violations.push(Violation::of(&number, format!("lost: {id} is not booked")));
            }
        }
        violations
    }

    /// Payments that are booked and do not exist at the gateway. A test that signs false notifications
    /// with the merchant's key must not check this.
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
                Violation::of(&number, format!("doubled: {id} was never paid at the gateway"))
            })
            .collect()
    }

    /// 2. An order's transitions have no gap and no repeat and end in its state. An order becomes
    ///    `paid` once and never leaves it.
    async fn broken_histories(&self) -> Vec<Violation> {
        let broken = "select o.out_trade_no, 'its transitions have a gap' from orders o
            left join order_transitions t using (mch_id, out_trade_no)
            group by o.mch_id, o.out_trade_no
            having count(t.seq) <> o.seq or min(t.seq) <> 1 or max(t.seq) <> o.seq
                or (array_agg(t.to_state order by t.seq desc))[1] <> o.state
            union all
            select a.out_trade_no, 'its transitions do not join' from order_transitions a
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

    /// 4. Every notification answered with `SUCCESS` is stored; every order answered with 2xx exists.
    async fn acknowledged_but_lost(&self) -> Vec<Violation> {
        let mut violations = Vec::new();
        let stored =
            "select distinct out_trade_no from notifications where out_trade_no is not null";
        let stored: Vec<String> = sqlx::query_scalar(stored).fetch_all(self.pool).await.unwrap();
        let stored: HashSet<String> = stored.into_iter().collect();
        let sampled = "select mch_id from notifications
            where verdict in ('bad_signature', 'unreadable') group by mch_id having count(*) >= $1";
        let sampled = sqlx::query_scalar(sampled).bind(SAMPLE_MAX).fetch_all(self.pool).await;
        let sampled: Vec<String> = sampled.unwrap();
        for order in self.simulator.orders() {
            let mch_id = order.mch_id.as_str();
            let number = &order.out_trade_no;
            let is_payment = |id: &str| order.payments.iter().any(|it| it.transaction_id == id);
            for notification in self.simulator.notifications(mch_id, number) {
                let may_be_left_out = self.told_without_number.contains(number)
                    || self.forged.contains(number) && sampled.iter().any(|it| it == mch_id);
                if may_be_left_out && !is_payment(&notification.transaction_id) {
                    continue;
                }
                let success =
                    notification.attempts.iter().any(|a| a.outcome == AttemptOutcome::Success);
                // A query finds the payments of lost notifications; invariant 1 checks that.
                if success && !stored.contains(number) && !self.broker_was_lost {
                    violations
                        .push(Violation::of(number, "lost: an answered notification is gone"));
                }
            }
        }
        let existing = "select mch_id, out_trade_no from orders
            union select mch_id, out_trade_no from rejections";
        let existing = sqlx::query(existing).fetch_all(self.pool).await.unwrap();
        let existing: HashSet<(String, String)> =
            existing.iter().map(|row| (row.get(0), row.get(1))).collect();
        let gone = self.accepted.iter().filter(|key| !existing.contains(*key));
        violations.extend(gone.map(|(_, number)| Violation::of(number, "lost: it was accepted")));
        violations
    }

    /// 3. Every transition, exception and rejection is published with its stored bytes and id, and
    ///    nothing else is.
    pub async fn unpublished(&self, published: &[Bytes]) -> Vec<Violation> {
        let rows = "select event_id::text, event_body, out_trade_no from order_transitions
            union all select event_id::text, event_body, out_trade_no from exceptions
            union all select event_id::text, event_body, out_trade_no from rejections";
        let rows = sqlx::query(rows).fetch_all(self.pool).await.unwrap();
        let stored: HashMap<String, (String, String)> =
            rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect();
        let ids: HashSet<String> = published.iter().map(id_of).collect();
        let unpublished = stored.iter().filter(|(id, _)| !ids.contains(*id));
        let unpublished =
            unpublished.map(|(id, (_, number))| (number, format!("lost: event {id}")));
        let mut violations: Vec<_> =
            unpublished.map(|(number, what)| Violation::of(number, what)).collect();
        for body in published {
            let id = id_of(body);
            let same = stored.get(&id).is_some_and(|(stored, _)| stored.as_bytes() == &body[..]);
            if !same {
                let what = format!("event {id} was published and is not stored with these bytes");
                violations.push(Violation { out_trade_no: None, what });
            }
        }
        violations
    }
}

impl World {
    /// Waits until the work queues, the delay queues and the outbox are empty.
    pub async fn wait_until_idle(&self) {
        let stop = CancellationToken::new();
        let config = self.environment.broker_config("test depths");
        let connection = broker::Connection::start(config, broker::Setup::Check, stop.clone());
        eventually("an idle system", async || {
            let depths = broker::queue_depths(&connection).await.ok()?;
            let busy = depths.iter().any(|depth| {
                let is_dead_letter =
                    depth.queue.ends_with(".parked") || depth.queue.ends_with(".unrouted");
                depth.messages > 0 && !is_dead_letter
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

    /// Checks every invariant after the system has stopped and requeued its unacked messages.
    pub(crate) async fn check_invariants(&self) {
        let accepted = self.accepted.lock().unwrap().clone();
        let pool = &self.environment.pool;
        let simulator = &self.simulator;
        let broker_was_lost = self.broker_was_lost;
        let none = &BTreeSet::new();
        let audit = Audit {
            pool,
            simulator,
            accepted: &accepted,
            broker_was_lost,
            told_without_number: none,
            forged: none,
        };
        let violations = audit.violations().await;
        if let Some(first) = violations.first() {
            let number = first.out_trade_no.as_deref();
            let log = number.map(|number| self.logs.containing(number)).unwrap_or_default();
            panic!("{violations:#?}\n{log}");
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

    /// 5. No message is left, and no event unpublished, except the parked messages of the test.
    async fn check_nothing_left(&self) {
        let stop = CancellationToken::new();
        let config = self.environment.broker_config("test depths");
        let connection = broker::Connection::start(config, broker::Setup::Check, stop.clone());
        let is_parked = |queue: &str| queue.ends_with(".parked");
        // A quorum queue updates its count a moment later.
        let what = format!("{} parked messages and no other message", self.parked_expected);
        eventually_ok(&what, async || {
            let depths = broker::queue_depths(&connection).await.map_err(anyhow::Error::from)?;
            let left = depths.iter().any(|depth| depth.messages > 0 && !is_parked(&depth.queue));
            let parked = depths.iter().filter(|depth| is_parked(&depth.queue));
            let parked: u32 = parked.map(|depth| depth.messages).sum();
            let is_met = !left && parked == self.parked_expected;
            is_met.then_some(()).ok_or_else(|| anyhow::anyhow!("{depths:?}"))
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
        let lines = self.lines_with_secrets(lines.iter().map(String::as_str)).await;
        assert!(lines.is_empty(), "secrets in the log: {lines:#?}");
    }
}

fn id_of(body: &Bytes) -> String {
    let event: Value = serde_json::from_slice(body).unwrap();
    event["id"].as_str().unwrap().to_owned()
}
