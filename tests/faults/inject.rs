//! Injects the seeded faults: processes, servers and network links at the same time, one fault each
//! at a time.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use harness::proxy::{Mode, Proxy};
use harness::servers::Server;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use time::OffsetDateTime;
use tokio::time::{Instant, sleep, timeout};

use crate::chance::{Stream, stream};
use crate::fault::{Fault, Link, NetworkFault, Process, ProcessFault, ServerFault};
use crate::process::ServiceProcess;
use crate::system::{FAST_SCHEDULE, System};

/// How many faults were injected, by kind.
pub(crate) type Injected = BTreeMap<String, u32>;

/// The longest wait for a process to reach a step. Some steps are never reached.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) async fn inject_faults(system: &System, seed: u64, duration: Duration) -> Injected {
    let deadline = Instant::now() + duration;
    let (processes, servers, links) = tokio::join!(
        inject_kind(
            system,
            stream(seed, Stream::Processes),
            deadline,
            Fault::random_process,
            400..2500
        ),
        inject_kind(
            system,
            stream(seed, Stream::Servers),
            deadline,
            Fault::random_server,
            3000..9000
        ),
        inject_kind(system, stream(seed, Stream::Network), deadline, Fault::random_link, 500..3000),
    );
    let mut all = processes;
    for (kind, count) in servers.into_iter().chain(links) {
        *all.entry(kind).or_default() += count;
    }
    all
}

/// Injects faults of one kind, one after the other, until the deadline.
async fn inject_kind(
    system: &System,
    mut rng: Rng,
    deadline: Instant,
    draw: fn(&mut Rng) -> Fault,
    pause_ms: std::ops::Range<u64>,
) -> Injected {
    let mut injected = Injected::new();
    loop {
        let pause = Duration::from_millis(rng.u64(pause_ms.clone()));
        if Instant::now() + pause >= deadline {
            return injected;
        }
        sleep(pause).await;
        let fault = draw(&mut rng);
        let duration = Duration::from_millis(rng.u64(200..4000));
        inject_fault(system, &fault, duration).await;
        *injected.entry(fault.kind()).or_default() += 1;
    }
}

/// Injects a fault and removes it after `duration`.
async fn inject_fault(system: &System, fault: &Fault, duration: Duration) {
    match fault {
        Fault::Process(process, fault) => {
            let process = match process {
                Process::Worker(at) => &system.workers[*at],
                Process::Ingress(at) => &system.ingresses[*at],
            };
            fault_process(process, *fault, duration).await;
        }
        Fault::Server(fault) => fault_server(system, *fault, duration).await,
        Fault::Network(link, fault) => {
            let proxies = proxies(system, *link);
            for proxy in &proxies {
                match fault {
                    NetworkFault::Cut => proxy.cut(),
                    NetworkFault::Dead => proxy.close(),
                    NetworkFault::HalfOpen => proxy.set_mode(Mode::Stalled),
                    NetworkFault::AnswersDelayed => proxy.delay_answers(),
                    NetworkFault::Slow => proxy.set_mode(Mode::Slow(Duration::from_millis(150))),
                    NetworkFault::Throttled => proxy.set_mode(Mode::Throttled(8 * 1024)),
                }
            }
            sleep(duration).await;
            proxies.into_iter().for_each(Proxy::open);
        }
    }
}

async fn fault_process(process: &ServiceProcess, fault: ProcessFault, duration: Duration) {
    match fault {
        ProcessFault::Kill => process.signal("KILL"),
        ProcessFault::Term => process.signal("TERM"),
        ProcessFault::Freeze => {
            process.signal("STOP");
            sleep(duration).await;
            process.signal("CONT");
            return;
        }
        ProcessFault::ExitAt(step) => {
            restart_with(process, &format!("{FAST_SCHEDULE};{step}=1*return(die)")).await;
            let _ = timeout(STEP_TIMEOUT, process.exited()).await;
        }
        ProcessFault::Panic(step) => {
            restart_with(process, &format!("{FAST_SCHEDULE};{step}=3*panic(by a failpoint)")).await;
            return;
        }
        ProcessFault::Vanish(step) => {
            restart_with(process, &format!("{FAST_SCHEDULE};{step}=5*return(vanish)")).await;
            return;
        }
    }
    if matches!(fault, ProcessFault::Kill | ProcessFault::Term) && !process.exited().await {
        println!("{} did not end and was killed", process.name);
    }
    // The process stays away for a while.
    sleep(duration / 2).await;
    process.restart_if_exited(FAST_SCHEDULE);
}

/// Kills a process and starts it with these failpoints.
async fn restart_with(process: &ServiceProcess, failpoints: &str) {
    process.signal("KILL");
    process.exited().await;
    process.start(failpoints);
}

async fn fault_server(system: &System, fault: ServerFault, duration: Duration) {
    let servers = &system.servers;
    match fault {
        ServerFault::RabbitKill => {
            servers.kill(Server::RabbitMq).await;
            system.start_servers().await;
        }
        ServerFault::RabbitRestart => {
            servers.stop(Server::RabbitMq).await;
            system.start_servers().await;
        }
        ServerFault::RabbitFreeze => {
            servers.freeze(Server::RabbitMq);
            sleep(duration).await;
            servers.resume(Server::RabbitMq);
        }
        ServerFault::RabbitAlarm => {
            servers.rabbitmqctl(&["set_vm_memory_high_watermark", "0.000001"]).await;
            sleep(duration).await;
            servers.rabbitmqctl(&["set_vm_memory_high_watermark", "0.4"]).await;
        }
        ServerFault::RabbitQueueDeleted(queue) => {
            *system.broker_lost_at.lock().unwrap() = Some(OffsetDateTime::now_utc());
            let name = format!("{}.{queue}", system.namespace);
            // Fails when an earlier fault deleted the queue and no worker has declared it since.
            let _ = servers.try_rabbitmqctl(&["delete_queue", &name]).await;
        }
        ServerFault::RabbitDataLost => {
            *system.broker_lost_at.lock().unwrap() = Some(OffsetDateTime::now_utc());
            servers.delete_broker_data().await;
            let before = system.events.connections();
            system.start_servers().await;
            system.events.wait_until_reconnected(before).await;
            *system.broker_lost_at.lock().unwrap() = Some(OffsetDateTime::now_utc());
        }
        ServerFault::PostgresKill => {
            servers.kill(Server::Postgres).await;
            system.start_servers().await;
        }
        ServerFault::PostgresRestart => {
            servers.stop(Server::Postgres).await;
            system.start_servers().await;
        }
        ServerFault::PostgresFreeze => {
            servers.freeze(Server::Postgres);
            sleep(duration).await;
            servers.resume(Server::Postgres);
        }
        ServerFault::PostgresLocked => lock_tables(system, duration).await,
        ServerFault::PostgresSlowCommits => {
            let body = "perform pg_sleep(0.3); return null;";
            add_commit_trigger(system, body, duration).await;
        }
        ServerFault::PostgresErrors(sqlstate) => {
            let body = format!(
                "if random() < 0.3 then raise exception 'by a trigger' using errcode = '{sqlstate}';
                end if; return null;"
            );
            add_commit_trigger(system, &body, duration).await;
        }
    }
}

async fn lock_tables(system: &System, duration: Duration) {
    let mut connection = admin(system).await;
    let mut tx = connection.begin().await.unwrap();
    sqlx::query("lock table orders, outbox in access exclusive mode")
        .execute(&mut *tx)
        .await
        .unwrap();
    sleep(duration).await;
    tx.rollback().await.unwrap();
}

/// Runs `body` when a transaction commits that wrote one of the money tables, for `duration`.
async fn add_commit_trigger(system: &System, body: &str, duration: Duration) {
    let tables = ["orders", "order_transitions", "notifications", "outbox"];
    let mut connection = admin(system).await;
    let function = format!(
        "create or replace function injected_fault() returns trigger language plpgsql as
            $$ begin {body} end $$"
    );
    sqlx::query(AssertSqlSafe(function)).execute(&mut connection).await.unwrap();
    for table in tables {
        let create = format!(
            "create constraint trigger injected_fault after insert or update on {table}
                deferrable initially deferred for each row execute function injected_fault()"
        );
        sqlx::query(AssertSqlSafe(create)).execute(&mut connection).await.unwrap();
    }
    sleep(duration).await;
    for table in tables {
        let drop = AssertSqlSafe(format!("drop trigger injected_fault on {table}"));
        sqlx::query(drop).execute(&mut connection).await.unwrap();
    }
}

async fn admin(system: &System) -> PgConnection {
    PgConnection::connect(system.servers.url(Server::Postgres).as_str()).await.unwrap()
}

fn proxies(system: &System, link: Link) -> Vec<&Proxy> {
    let links = &system.links;
    match link {
        Link::WorkerToRabbit(at) => vec![&links.worker_to_rabbit[at]],
        Link::IngressToRabbit(at) => vec![&links.ingress_to_rabbit[at]],
        Link::WorkerToPostgres(at) => vec![&links.worker_to_postgres[at]],
        Link::ToGateway => vec![&links.to_gateway],
        Link::ToBackup => vec![&links.to_backup],
        Link::ToBothHosts => vec![&links.to_gateway, &links.to_backup],
        Link::WechatToIngress => vec![&links.wechat_to_ingress],
        Link::ShopToIngress(at) => vec![&links.shop_to_ingress[at]],
    }
}
