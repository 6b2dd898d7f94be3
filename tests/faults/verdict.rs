//! Waits until nothing is left to do, and says what does not hold.

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

/// Leases of the dead end within 30 s, the ladder of delays has steps of minutes, and an outcome
/// that stays unknown is asked for ever more rarely.
const QUIET_WITHIN: Duration = Duration::from_secs(8 * 60);
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);
/// What is published is consumed long before.
const TOLD_WITHIN: Duration = Duration::from_secs(10);
/// Stories printed in full; more say nothing new.
const STORIES_MAX: usize = 5;

pub(crate) struct Found {
    violations: Vec<Violation>,
    stories: Vec<String>,
    facts: Vec<String>,
    gateway_faults: u32,
    oddities: Injected,
}

impl Found {
    pub(crate) fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }

    pub(crate) fn lost(&self) -> usize {
        self.violations.len() - self.doubled()
    }

    pub(crate) fn doubled(&self) -> usize {
        self.violations.iter().filter(|breach| breach.what.starts_with("doubled")).count()
    }

    /// Prints what was injected and found; returns how many faults there were.
    pub(crate) fn print(&self, injected: &Injected, seed: u64) -> u32 {
        println!("\ninjected:");
        for (kind, count) in injected {
            println!("  {count:>6}  {kind}");
        }
        println!("  {:>6}  bad answers of the gateway", self.gateway_faults);
        println!("\nshops, payers and forgers:");
        for (kind, count) in &self.oddities {
            println!("  {count:>6}  {kind}");
        }
        println!("\nfound:");
        for fact in &self.facts {
            println!("  {fact}");
        }
        for breach in &self.violations {
            let number = breach.out_trade_no.as_deref().unwrap_or("-");
            println!("  BREACH {number}: {}", breach.what);
        }
        for story in &self.stories {
            println!("\n{story}");
        }
        println!("\nseed {seed}");
        injected.values().sum::<u32>() + self.gateway_faults
    }
}

/// Waits for quiet and checks everything.
pub(crate) async fn reach(system: &System, shops: &Shops<'_>) -> Found {
    let pool = system.pool().await;
    let mut facts = Vec::new();
    let mut violations = Vec::new();

    // What only a lost broker knew, its shops ask for again.
    let lost_at = *system.lost.lock().unwrap();
    wait_until_idle(system, &pool).await;
    if lost_at.is_some() {
        let unknown = unknown(&pool, shops).await;
        let repeated = shops.repeat(&unknown).await;
        facts.push(format!("{repeated} orders were gone with the broker, and ordered again"));
        // Nobody asks about a closed order any more; after a loss an operator does.
        let since = system.begun.format(&Rfc3339).unwrap();
        let said = system.operator(&["order", "requery-closed", "--since", &since]).await;
        facts.push(format!("operator: {}", said.trim()));
    }
    let undecided = wait_until_idle(system, &pool).await;
    violations.extend(undecided);

    // Every event once without help, but those that were under way when the broker lost its data.
    let accepted = shops.accepted();
    let audit = Audit {
        pool: &pool,
        simulator: &system.simulator,
        accepted: &accepted,
        broker_was_lost: lost_at.is_some(),
    };
    violations.extend(audit.violations().await);
    violations.extend(audit.booked_but_not_paid().await);
    let unpublished = unpublished_events(system, &audit).await;
    if let (Some(lost_at), false) = (lost_at, unpublished.is_empty()) {
        let late = written_after(&pool, &unpublished, lost_at).await;
        violations.extend(late);
        let since = system.begun.format(&Rfc3339).unwrap();
        let said = system.operator(&["events", "replay", "--since", &since]).await;
        facts.push(format!(
            "{} events were gone with the broker; {}",
            unpublished.len(),
            said.trim()
        ));
        let deadline = Instant::now() + QUIET_WITHIN;
        let mut unpublished = unpublished_events(system, &audit).await;
        while !unpublished.is_empty() && Instant::now() < deadline {
            println!("  {} events are missed, such as {:?}", unpublished.len(), unpublished[0]);
            sleep(TOLD_WITHIN).await;
            unpublished = unpublished_events(system, &audit).await;
        }
        violations.extend(unpublished);
    } else {
        violations.extend(unpublished);
    }

    let (made, there) = (shops.orders as usize, system.simulator.orders().len());
    if there < made {
        let what = format!("lost: {made} orders were made, WeChat knows {there}");
        violations.push(Violation { out_trade_no: None, what });
    }
    violations.extend(secrets_and_panics(system, &pool).await);
    violations.extend(ends_well(system).await);
    violations.extend(left(system, shops, lost_at.is_some(), &mut facts).await);

    facts.extend(counts(&pool).await);
    let mut stories = Vec::new();
    let keys: BTreeSet<(String, String)> = accepted;
    for breach in violations.iter().filter(|it| it.out_trade_no.is_some()).take(STORIES_MAX) {
        let number = breach.out_trade_no.clone().unwrap();
        let mch_id = keys.iter().find(|(_, it)| *it == number).map(|(mch_id, _)| mch_id.clone());
        let mch_id = mch_id.unwrap_or_else(|| system.merchants[0].mch_id.clone());
        stories.push(system.operator(&["order", "explain", &mch_id, &number]).await);
    }
    if stories.is_empty() {
        stories.extend(most_troubled(system, &pool).await);
    }
    let oddities = shops.oddities.lock().unwrap().clone();
    Found { violations, stories, facts, gateway_faults: bad_answers(system), oddities }
}

/// Waits until nothing is queued, unpublished or undecided; returns what is in the end.
async fn wait_until_idle(system: &System, pool: &PgPool) -> Vec<Violation> {
    let deadline = Instant::now() + QUIET_WITHIN;
    let mut last = Instant::now();
    loop {
        let left = unsettled(system, pool).await;
        if left.is_empty() {
            return left;
        }
        if Instant::now() > deadline {
            return left;
        }
        if last.elapsed() > Duration::from_secs(30) {
            println!("  {} things are left, such as:", left.len());
            for breach in left.iter().take(STORIES_MAX) {
                let number = breach.out_trade_no.as_deref().unwrap_or("-");
                println!("    {number}: {}", breach.what);
            }
            last = Instant::now();
        }
        sleep(BETWEEN_LOOKS).await;
    }
}

async fn unsettled(system: &System, pool: &PgPool) -> Vec<Violation> {
    let mut left = Vec::new();
    for depth in depths(system).await {
        let kept = depth.queue.ends_with(".parked") || depth.queue.ends_with(".unrouted");
        if depth.messages > 0 && !kept {
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
    let nobody = BTreeSet::new();
    let (simulator, accepted) = (&system.simulator, &nobody);
    let audit = Audit { pool, simulator, accepted, broker_was_lost: true };
    left.extend(audit.violations().await);
    let deliveries = system.simulator.orders().into_iter().flat_map(|order| order.notifications);
    let waiting = deliveries.filter(|told| told.state == simulator::NotificationState::Pending);
    let waiting = waiting.count();
    if waiting > 0 {
        let what = format!("undecided: {waiting} notifications are on their way");
        left.push(Violation { out_trade_no: None, what });
    }
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

/// Accepted, and in no table.
async fn unknown(pool: &PgPool, shops: &Shops<'_>) -> BTreeSet<(String, String)> {
    let known = "select mch_id, out_trade_no from orders
        union select mch_id, out_trade_no from rejections";
    let known = sqlx::query(known).fetch_all(pool).await.unwrap();
    let known: BTreeSet<(String, String)> =
        known.iter().map(|row| (row.get(0), row.get(1))).collect();
    shops.accepted().difference(&known).cloned().collect()
}

/// What the recorder has not heard of, after a moment for what is on its way.
async fn unpublished_events(system: &System, audit: &Audit<'_>) -> Vec<Violation> {
    let deadline = Instant::now() + TOLD_WITHIN;
    loop {
        let unpublished = audit.unpublished(&system.events.bodies()).await;
        if unpublished.is_empty() || Instant::now() > deadline {
            return unpublished;
        }
        sleep(BETWEEN_LOOKS).await;
    }
}

/// Events that were written when the broker had its data and their listener again.
async fn written_after(
    pool: &PgPool,
    unpublished: &[Violation],
    lost_at: OffsetDateTime,
) -> Vec<Violation> {
    let later = "select event_id::text from order_transitions where at > $1
        union all select event_id::text from exceptions where opened_at > $1
        union all select event_id::text from rejections where at > $1";
    let later: Vec<String> = sqlx::query_scalar(later).bind(lost_at).fetch_all(pool).await.unwrap();
    let is_later = |breach: &&Violation| later.iter().any(|id| breach.what.contains(id.as_str()));
    unpublished.iter().filter(is_later).cloned().collect()
}

/// No key, payer or signature in any log, and nobody panicked but where we made them.
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
            // As the standard library says it, and as the worker logs it.
            let panicked = line.contains("panicked at") || line.contains("\"panicked: ");
            if panicked && !line.contains("/fail-") {
                let what = format!("{} panicked: {line}", process.name);
                violations.push(Violation { out_trade_no: None, what });
            }
        }
    }
    violations
}

/// SIGTERM ends everybody in good order.
async fn ends_well(system: &System) -> Vec<Violation> {
    let mut violations = Vec::new();
    system.processes().for_each(|process| process.signal("TERM"));
    for process in system.processes() {
        if !process.ends().await {
            let what = format!("{} does not end", process.name);
            violations.push(Violation { out_trade_no: None, what });
        }
    }
    violations
}

/// What stands in queues when nobody holds anything.
async fn left(
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
    let right = if broker_was_lost { parked <= garbage } else { parked == garbage };
    if !right {
        let what = format!("{parked} messages are parked, but {garbage} were garbage");
        violations.push(Violation { out_trade_no: None, what });
    }
    violations
}

/// The story of the paid order that met the most trouble.
async fn most_troubled(system: &System, pool: &PgPool) -> Option<String> {
    let troubled = "select mch_id, out_trade_no from gateway_calls
        join orders using (mch_id, out_trade_no)
        where verdict = 'unknown' and state = 'paid'
        group by mch_id, out_trade_no order by count(*) desc limit 1";
    let row = sqlx::query(troubled).fetch_optional(pool).await.unwrap()?;
    let (mch_id, number): (String, String) = (row.get(0), row.get(1));
    let story = system.operator(&["order", "explain", &mch_id, &number]).await;
    Some(format!("the paid order that met the most trouble:\n{story}"))
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

/// Answers that told nothing or lied about what had happened.
fn bad_answers(system: &System) -> u32 {
    let good = ["SUCCESS", "ORDERNOTEXIST", "ORDERPAID", "ORDERCLOSED"];
    let requests = system.simulator.request_counts();
    let outcomes = requests.apis.values().flatten();
    let bad = outcomes.filter(|(name, _)| !good.contains(&name.as_str()));
    u32::try_from(bad.map(|(_, count)| count).sum::<u64>()).unwrap()
}
