//! Carries out the seeded plan: three hands, one for the processes, one for the servers and one for
//! the wires, each with one blow at a time.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use harness::proxy::{Proxy, Way};
use harness::servers::Server;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use time::OffsetDateTime;
use tokio::time::{Instant, sleep, timeout};

use crate::chance::{Stream, stream};
use crate::fault::{Blow, End, Harm, Part, ServerBlow, Wire};
use crate::process::Process;
use crate::system::{HURRY, System, mend};

/// What was done, by kind.
pub(crate) type Injected = BTreeMap<String, u32>;

/// A process that waits for a step which nothing reaches is given up.
const STEP_WITHIN: Duration = Duration::from_secs(10);

/// Breaks things for so long.
pub(crate) async fn until_the_end(system: &System, seed: u64, lasting: Duration) -> Injected {
    let end = Instant::now() + lasting;
    let (processes, servers, wires) = tokio::join!(
        hand(system, stream(seed, Stream::Processes), end, Blow::of_a_process, 400..2500),
        hand(system, stream(seed, Stream::Servers), end, Blow::of_a_server, 3000..9000),
        hand(system, stream(seed, Stream::Network), end, Blow::of_a_wire, 500..3000),
    );
    let mut all = processes;
    for (kind, count) in servers.into_iter().chain(wires) {
        *all.entry(kind).or_default() += count;
    }
    all
}

async fn hand(
    system: &System,
    mut rng: Rng,
    end: Instant,
    draw: fn(&mut Rng) -> Blow,
    pause_ms: std::ops::Range<u64>,
) -> Injected {
    let mut injected = Injected::new();
    loop {
        let pause = Duration::from_millis(rng.u64(pause_ms.clone()));
        if Instant::now() + pause >= end {
            return injected;
        }
        sleep(pause).await;
        let blow = draw(&mut rng);
        let lasting = Duration::from_millis(rng.u64(200..4000));
        inject_fault(system, &blow, lasting).await;
        *injected.entry(blow.kind()).or_default() += 1;
    }
}

/// Breaks it, and mends it afterwards.
async fn inject_fault(system: &System, blow: &Blow, lasting: Duration) {
    match blow {
        Blow::Process(part, end) => {
            let process = match part {
                Part::Worker(at) => &system.workers[*at],
                Part::Ingress(at) => &system.ingresses[*at],
            };
            end_process(process, *end, lasting).await;
        }
        Blow::Server(blow) => fault_server(system, *blow, lasting).await,
        Blow::Wire(wire, harm) => {
            let proxies = wires(system, *wire);
            for proxy in &proxies {
                match harm {
                    Harm::Cut => proxy.cut(),
                    Harm::Dead => proxy.shut(),
                    Harm::HalfOpen => proxy.set(Way::Still),
                    Harm::AnswersHeldBack => proxy.silence(),
                    Harm::Slow => proxy.set(Way::Slow(Duration::from_millis(150))),
                    Harm::Throttled => proxy.set(Way::Narrow(8 * 1024)),
                }
            }
            sleep(lasting).await;
            proxies.into_iter().for_each(mend);
        }
    }
}

async fn end_process(process: &Process, end: End, lasting: Duration) {
    match end {
        End::Kill => process.signal("KILL"),
        End::Term => process.signal("TERM"),
        End::Freeze => {
            process.signal("STOP");
            sleep(lasting).await;
            process.signal("CONT");
            return;
        }
        End::At(step) => {
            renew(process, &format!("{HURRY};{step}=1*return(die)")).await;
            let _ = timeout(STEP_WITHIN, process.ends()).await;
        }
        End::Panic(step) => {
            renew(process, &format!("{HURRY};{step}=3*panic(by a failpoint)")).await;
            return;
        }
        End::Vanish(step) => {
            renew(process, &format!("{HURRY};{step}=5*return(vanish)")).await;
            return;
        }
    }
    if matches!(end, End::Kill | End::Term) && !process.ends().await {
        println!("{} did not end and was killed", process.name);
    }
    // Nobody is there for a while.
    sleep(lasting / 2).await;
    process.restart_if_ended(HURRY);
}

/// The same program with other failpoints.
async fn renew(process: &Process, failpoints: &str) {
    process.signal("KILL");
    process.ends().await;
    process.start(failpoints);
}

async fn fault_server(system: &System, blow: ServerBlow, lasting: Duration) {
    let servers = &system.servers;
    match blow {
        ServerBlow::RabbitKill => {
            servers.kill(Server::RabbitMq).await;
            system.servers_up().await;
        }
        ServerBlow::RabbitRestart => {
            servers.stop(Server::RabbitMq).await;
            system.servers_up().await;
        }
        ServerBlow::RabbitFreeze => {
            servers.freeze(Server::RabbitMq);
            sleep(lasting).await;
            servers.resume(Server::RabbitMq);
        }
        ServerBlow::RabbitAlarm => {
            servers.rabbitmqctl(&["set_vm_memory_high_watermark", "0.000001"]).await;
            sleep(lasting).await;
            servers.rabbitmqctl(&["set_vm_memory_high_watermark", "0.4"]).await;
        }
        ServerBlow::RabbitQueueDeleted(queue) => {
            *system.lost.lock().unwrap() = Some(OffsetDateTime::now_utc());
            let name = format!("{}.{queue}", system.namespace);
            // Gone already, when an earlier blow took it and nobody has declared it since.
            let _ = servers.try_rabbitmqctl(&["delete_queue", &name]).await;
        }
        ServerBlow::RabbitDataLost => {
            *system.lost.lock().unwrap() = Some(OffsetDateTime::now_utc());
            servers.delete_broker_data().await;
            let before = system.events.connections();
            system.servers_up().await;
            system.events.wait_until_reconnected(before).await;
            *system.lost.lock().unwrap() = Some(OffsetDateTime::now_utc());
        }
        ServerBlow::PostgresKill => {
            servers.kill(Server::Postgres).await;
            system.servers_up().await;
        }
        ServerBlow::PostgresRestart => {
            servers.stop(Server::Postgres).await;
            system.servers_up().await;
        }
        ServerBlow::PostgresFreeze => {
            servers.freeze(Server::Postgres);
            sleep(lasting).await;
            servers.resume(Server::Postgres);
        }
        ServerBlow::PostgresLocked => locked(system, lasting).await,
        ServerBlow::PostgresSlowCommits => {
            let body = "perform pg_sleep(0.3); return null;";
            triggered(system, body, lasting).await;
        }
        ServerBlow::PostgresErrors(sqlstate) => {
            let body = format!(
                "if random() < 0.3 then raise exception 'by a trigger' using errcode = '{sqlstate}';
                end if; return null;"
            );
            triggered(system, &body, lasting).await;
        }
    }
}

async fn locked(system: &System, lasting: Duration) {
    let mut connection = admin(system).await;
    let mut tx = connection.begin().await.unwrap();
    sqlx::query("lock table orders, outbox in access exclusive mode")
        .execute(&mut *tx)
        .await
        .unwrap();
    sleep(lasting).await;
    tx.rollback().await.unwrap();
}

/// A trigger that runs when a transaction commits, on every table that money depends on.
async fn triggered(system: &System, body: &str, lasting: Duration) {
    let tables = ["orders", "order_transitions", "notifications", "outbox"];
    let mut connection = admin(system).await;
    let function = format!(
        "create or replace function harm() returns trigger language plpgsql as
            $$ begin {body} end $$"
    );
    sqlx::query(AssertSqlSafe(function)).execute(&mut connection).await.unwrap();
    for table in tables {
        let create = format!(
            "create constraint trigger harm after insert or update on {table}
                deferrable initially deferred for each row execute function harm()"
        );
        sqlx::query(AssertSqlSafe(create)).execute(&mut connection).await.unwrap();
    }
    sleep(lasting).await;
    for table in tables {
        let drop = AssertSqlSafe(format!("drop trigger harm on {table}"));
        sqlx::query(drop).execute(&mut connection).await.unwrap();
    }
}

async fn admin(system: &System) -> PgConnection {
    PgConnection::connect(system.servers.url(Server::Postgres).as_str()).await.unwrap()
}

fn wires(system: &System, wire: Wire) -> Vec<&Proxy> {
    let wires = &system.wires;
    match wire {
        Wire::WorkerToRabbit(at) => vec![&wires.worker_to_rabbit[at]],
        Wire::IngressToRabbit(at) => vec![&wires.ingress_to_rabbit[at]],
        Wire::WorkerToPostgres(at) => vec![&wires.worker_to_postgres[at]],
        Wire::ToGateway => vec![&wires.to_gateway],
        Wire::ToBackup => vec![&wires.to_backup],
        Wire::ToBothHosts => vec![&wires.to_gateway, &wires.to_backup],
        Wire::WechatToIngress => vec![&wires.wechat_to_ingress],
        Wire::ShopToIngress(at) => vec![&wires.shop_to_ingress[at]],
    }
}
