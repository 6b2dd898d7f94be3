//! Waits until the system is idle, then checks the invariants and reports the violations.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use broker::{BrokerConfig, QueueDepth};
use harness::invariants::{Audit, Violation};
use harness::servers::Server;
use sqlx::{PgPool, Row};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::inject::Injected;
use crate::shops::Shops;
use crate::system::System;

/// The longest wait for an idle system: leases expire after 30 s, retry delays are minutes long, and
/// the pauses between queries for an unknown outcome grow.
const IDLE_TIMEOUT: Duration = Duration::from_secs(8 * 60);
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Longer than the recorder takes to consume a published event.
const EVENT_TIMEOUT: Duration = Duration::from_secs(10);
/// How many order histories the report prints.
const HISTORIES_MAX: usize = 5;

pub(crate) struct CampaignReport {
    violations: Vec<Violation>,
    histories: Vec<String>,
    facts: Vec<String>,
    gateway_faults: u32,
    actions: Injected,
}

impl CampaignReport {
    pub(crate) fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }

    pub(crate) fn lost(&self) -> usize {
        self.violations.len() - self.doubled()
    }

    pub(crate) fn doubled(&self) -> usize {
        self.violations.iter().filter(|it| it.what.starts_with("doubled")).count()
    }

    /// Prints the report and returns how many faults were injected.
    pub(crate) fn print(&self, injected: &Injected, seed: u64) -> u32 {
        println!("\ninjected:");
        for (kind, count) in injected {
            println!("  {count:>6}  {kind}");
        }
        println!("  {:>6}  bad answers of the gateway", self.gateway_faults);
        println!("\nshops, payers and forgers:");
        for (kind, count) in &self.actions {
            println!("  {count:>6}  {kind}");
        }
        println!("\nfound:");
        for fact in &self.facts {
            println!("  {fact}");
        }
        for violation in &self.violations {
            let number = violation.out_trade_no.as_deref().unwrap_or("-");
            println!("  VIOLATION {number}: {}", violation.what);
        }
        for history in &self.histories {
            println!("\n{history}");
        }
        println!("\nseed {seed}");
        injected.values().sum::<u32>() + self.gateway_faults
    }
}

/// Waits until the system is idle and checks everything.
pub(crate) async fn check(system: &System, shops: &Shops<'_>) -> CampaignReport {
    let pool = system.pool().await;
    let mut facts = Vec::new();
    let mut violations = Vec::new();

    // Shops repeat the orders that were lost with the broker.
    let lost_at = *system.broker_lost_at.lock().unwrap();
    wait_until_idle(system, &pool).await;
    if lost_at.is_some() {
        let unknown = accepted_but_unknown(&pool, shops).await;
        let repeated = shops.repeat(&unknown).await;
        facts.push(format!("{repeated} orders were lost with the broker and ordered again"));
        // The worker does not query closed orders; after a loss an operator requests it.
        let since = system.started_at.format(&Rfc3339).unwrap();
        let output = system.operator(&["order", "requery-closed", "--since", &since]).await;
        facts.push(format!("operator: {}", output.trim()));
    }
    let undecided = wait_until_idle(system, &pool).await;
    violations.extend(undecided);

    // Every event is published without an operator, except those that the broker lost.
    let accepted = shops.accepted();
    let told_without_number = shops.told_without_number.lock().unwrap().clone();
    let forged = shops.forged.lock().unwrap().clone();
    let audit = Audit {
        pool: &pool,
        simulator: &system.simulator,
        accepted: &accepted,
        broker_was_lost: lost_at.is_some(),
        told_without_number: &told_without_number,
        forged: &forged,
    };
    violations.extend(audit.violations().await);
    violations.extend(audit.booked_but_not_paid().await);
    let unpublished = unpublished_events(system, &audit).await;
    if let Some(lost_at) = lost_at.filter(|_| !unpublished.is_empty()) {
        let late = written_after(&pool, &unpublished, lost_at).await;
        violations.extend(late);
        let since = system.started_at.format(&Rfc3339).unwrap();
        let output = system.operator(&["events", "replay", "--since", &since]).await;
        facts.push(format!(
            "{} events were lost with the broker; {}",
            unpublished.len(),
            output.trim()
        ));
        let deadline = Instant::now() + IDLE_TIMEOUT;
        let mut unpublished = unpublished_events(system, &audit).await;
        while !unpublished.is_empty() && Instant::now() < deadline {
            println!("  {} events are missing, such as {:?}", unpublished.len(), unpublished[0]);
            sleep(EVENT_TIMEOUT).await;
            unpublished = unpublished_events(system, &audit).await;
        }
        violations.extend(unpublished);
    } else {
        violations.extend(unpublished);
    }

    let created = shops.orders.all as usize;
    let known = system.simulator.orders().len();
    if known < created {
        let what = format!("lost: {created} orders were created, WeChat knows {known}");
        violations.push(Violation { out_trade_no: None, what });
    }
    violations.extend(secrets_and_panics(system, &pool).await);
    violations.extend(stop_processes(system).await);
    violations.extend(messages_left(system, shops, lost_at.is_some(), &mut facts).await);

    facts.extend(counts(&pool).await);
    let mut histories = Vec::new();
    let keys: BTreeSet<(String, String)> = accepted;
    for violation in violations.iter().filter(|it| it.out_trade_no.is_some()).take(HISTORIES_MAX) {
        let number = violation.out_trade_no.clone().unwrap();
        let mch_id = keys.iter().find(|(_, it)| *it == number).map(|(mch_id, _)| mch_id.clone());
        let mch_id = mch_id.unwrap_or_else(|| system.merchants[0].mch_id.clone());
        histories.push(system.operator(&["order", "explain", &mch_id, &number]).await);
    }
    if histories.is_empty() {
        histories.extend(most_unknown_outcomes(system, &pool).await);
    }
    let actions = shops.actions.lock().unwrap().clone();
    CampaignReport { violations, histories, facts, gateway_faults: bad_answers(system), actions }
}

/// Waits until nothing is queued, unpublished or undecided. Returns what is left after the timeout.
async fn wait_until_idle(system: &System, pool: &PgPool) -> Vec<Violation> {
    let deadline = Instant::now() + IDLE_TIMEOUT;
    let mut last = Instant::now();
    let mut was_idle = false;
    loop {
        let left = unfinished_work(system, pool).await;
        // Twice in a row: a quorum queue counts a message a moment after its confirm.
        if left.is_empty() && was_idle {
            return left;
        }
        was_idle = left.is_empty();
        if Instant::now() > deadline {
            return left;
        }
        if last.elapsed() > Duration::from_secs(30) {
            println!("  {} items are left, such as:", left.len());
            for violation in left.iter().take(HISTORIES_MAX) {
                let number = violation.out_trade_no.as_deref().unwrap_or("-");
                println!("    {number}: {}", violation.what);
            }
            last = Instant::now();
        }
        sleep(POLL_INTERVAL).await;
    }
}

async fn unfinished_work(system: &System, pool: &PgPool) -> Vec<Violation> {
    let mut left = Vec::new();
    // Before the queues: a notification that is answered in between is in one of them.
    let deliveries = system.simulator.orders().into_iter().flat_map(|order| order.notifications);
    let waiting = deliveries.filter(|it| it.state == simulator::NotificationState::Pending);
    let waiting = waiting.count();
    if waiting > 0 {
        let what = format!("undecided: {waiting} notifications are pending");
        left.push(Violation { out_trade_no: None, what });
    }
    for depth in depths(system).await {
        let is_dead_letter = depth.queue.ends_with(".parked") || depth.queue.ends_with(".unrouted");
        if depth.messages > 0 && !is_dead_letter {
            let what = format!("undecided: {} messages in {}", depth.messages, depth.queue);
            left.push(Violation { out_trade_no: None, what });
        }
    }
    let undecided = "select out_trade_no, 'undecided: ' || state from orders
        where state in ('created', 'closing')
        union all select out_trade_no, 'undecided: an event is unpublished' from outbox";
    let undecided = sqlx::query(undecided).fetch_all(pool).await.unwrap();
    left.extend(
        undecided.iter().map(|row| Violation { out_trade_no: Some(row.get(0)), what: row.get(1) }),
    );
    let accepted = BTreeSet::new();
    let none = &BTreeSet::new();
    let audit = Audit {
        pool,
        simulator: &system.simulator,
        accepted: &accepted,
        broker_was_lost: true,
        told_without_number: none,
        forged: none,
    };
    left.extend(audit.violations().await);
    left
}

async fn depths(system: &System) -> Vec<QueueDepth> {
    let stop = CancellationToken::new();
    let url = system.servers.url(Server::RabbitMq);
    let config = BrokerConfig {
        amqp_url: broker::AmqpUrl::parse(url.as_str()).unwrap(),
        namespace: system.namespace.clone(),
        connection_name: "faults".to_owned(),
    };
    let connection = broker::Connection::start(config, broker::Setup::Check, stop.clone());
    let depths =
        harness::eventually("depths", async || broker::queue_depths(&connection).await.ok()).await;
    stop.cancel();
    connection.closed().await;
    depths
}

/// The orders that were accepted and are in no table.
async fn accepted_but_unknown(pool: &PgPool, shops: &Shops<'_>) -> BTreeSet<(String, String)> {
    let known = "select mch_id, out_trade_no from orders
        union select mch_id, out_trade_no from rejections";
    let known = sqlx::query(known).fetch_all(pool).await.unwrap();
    let known: BTreeSet<(String, String)> =
        known.iter().map(|row| (row.get(0), row.get(1))).collect();
    shops.accepted().difference(&known).cloned().collect()
}

/// The events that the recorder has not received by the end of the timeout.
async fn unpublished_events(system: &System, audit: &Audit<'_>) -> Vec<Violation> {
    let deadline = Instant::now() + EVENT_TIMEOUT;
    loop {
        let unpublished = audit.unpublished(&system.events.bodies()).await;
        if unpublished.is_empty() || Instant::now() > deadline {
            return unpublished;
        }
        sleep(POLL_INTERVAL).await;
    }
}

/// The events among these that were written after the broker was back, with the recorder's queue.
async fn written_after(
    pool: &PgPool,
    unpublished: &[Violation],
    lost_at: OffsetDateTime,
) -> Vec<Violation> {
    let later = "select event_id::text from order_transitions where at > $1
        union all select event_id::text from exceptions where opened_at > $1
        union all select event_id::text from rejections where at > $1";
    let later: Vec<String> = sqlx::query_scalar(later).bind(lost_at).fetch_all(pool).await.unwrap();
    let is_later =
        |violation: &&Violation| later.iter().any(|id| violation.what.contains(id.as_str()));
    unpublished.iter().filter(is_later).cloned().collect()
}

/// No log contains a key, openid or signature, and no process panicked except at a failpoint.
async fn secrets_and_panics(system: &System, pool: &PgPool) -> Vec<Violation> {
    let mut secrets: Vec<String> = Vec::new();
    for merchant in &system.merchants {
        secrets.extend([merchant.key.clone(), merchant.openid.clone()]);
    }
    let raw: Vec<Vec<u8>> =
        sqlx::query_scalar("select raw from notifications").fetch_all(pool).await.unwrap();
    for body in raw {
        let body = String::from_utf8_lossy(&body).into_owned();
        let sign = body.split("<sign>").nth(1).and_then(|rest| rest.split("</sign>").next());
        let sign = sign.map(|sign| sign.replace("<![CDATA[", "").replace("]]>", ""));
        secrets.extend(sign.filter(|sign| sign.len() >= 32));
    }
    let secrets: std::collections::HashSet<&str> = secrets.iter().map(String::as_str).collect();
    let mut violations = Vec::new();
    for process in system.processes() {
        for line in process.log().lines() {
            // Every secret is a run of letters and digits.
            let words = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_');
            if words.into_iter().any(|word| secrets.contains(word)) {
                let what = format!("a secret in the log of {}", process.name);
                violations.push(Violation { out_trade_no: None, what });
            }
            // The standard library's message and the worker's log line.
            let panicked = line.contains("panicked at") || line.contains("\"panicked: ");
            if panicked && !line.contains("/fail-") {
                let what = format!("{} panicked: {line}", process.name);
                violations.push(Violation { out_trade_no: None, what });
            }
        }
    }
    violations
}

/// SIGTERM stops every process.
async fn stop_processes(system: &System) -> Vec<Violation> {
    let mut violations = Vec::new();
    system.processes().for_each(|process| process.signal("TERM"));
    for process in system.processes() {
        if !process.exited().await {
            let what = format!("{} does not end", process.name);
            violations.push(Violation { out_trade_no: None, what });
        }
    }
    violations
}

/// What is left in the queues after every process has stopped.
async fn messages_left(
    system: &System,
    shops: &Shops<'_>,
    broker_was_lost: bool,
    facts: &mut Vec<String>,
) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut parked = 0;
    for depth in depths(system).await {
        if depth.queue.ends_with("orders.parked") {
            parked = depth.messages;
        } else if depth.messages > 0 {
            let what = format!("left: {} messages in {}", depth.messages, depth.queue);
            violations.push(Violation { out_trade_no: None, what });
        }
    }
    let garbage = shops.garbage.load(Ordering::Relaxed);
    facts.push(format!("{parked} messages are parked, {garbage} were garbage"));
    let is_expected = if broker_was_lost { parked <= garbage } else { parked == garbage };
    if !is_expected {
        let what = format!("{parked} messages are parked, but {garbage} were garbage");
        violations.push(Violation { out_trade_no: None, what });
    }
    violations
}

/// The history of the paid order with the most unknown outcomes.
async fn most_unknown_outcomes(system: &System, pool: &PgPool) -> Option<String> {
    let query = "select mch_id, out_trade_no from gateway_calls
        join orders using (mch_id, out_trade_no)
        where verdict = 'unknown' and state = 'paid'
        group by mch_id, out_trade_no order by count(*) desc limit 1";
    let row = sqlx::query(query).fetch_optional(pool).await.unwrap()?;
    let mch_id: String = row.get(0);
    let number: String = row.get(1);
    let history = system.operator(&["order", "explain", &mch_id, &number]).await;
    Some(format!("the paid order with the most unknown outcomes:\n{history}"))
}

async fn counts(pool: &PgPool) -> Vec<String> {
    let counts = "select 'orders ' || state, count(*) from orders group by state
        union all select 'notifications ' || verdict, count(*) from notifications group by verdict
        union all select 'exceptions ' || kind, count(*) from exceptions group by kind
        union all select 'rejections', count(*) from rejections
        order by 1";
    let counts = sqlx::query(counts).fetch_all(pool).await.unwrap();
    counts
        .iter()
        .map(|row| format!("{:>6}  {}", row.get::<i64, _>(1), row.get::<String, _>(0)))
        .collect()
}

/// How many answers of the gateway were errors or wrong.
fn bad_answers(system: &System) -> u32 {
    let good = ["SUCCESS", "ORDERNOTEXIST", "ORDERPAID", "ORDERCLOSED"];
    let requests = system.simulator.request_counts();
    let outcomes = requests.apis.values().flatten();
    let bad = outcomes.filter(|(name, _)| !good.contains(&name.as_str()));
    u32::try_from(bad.map(|(_, count)| count).sum::<u64>()).unwrap()
}
