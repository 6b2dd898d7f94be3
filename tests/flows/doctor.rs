//! The command `doctor`: a healthy system, and each problem that it reports.
//! [`Program::run`] checks that the output contains no secret.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use harness::amqp::Amqp;
use harness::environment::{TestEnvironment, amqp_text};
use harness::program::Program;
use harness::{Shop, World, eventually};
use lapin::BasicProperties;
use serde_json::Value;
use services::ports::free_address;
use simulator::PayOptions;
use time::macros::format_description;
use time::{Duration, OffsetDateTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;
use wechatpay_v2::Fen;

/// The JSON checks and the text of one doctor run.
#[derive(Debug)]
struct DoctorReport {
    code: i32,
    checks: Vec<Value>,
    text: String,
}

impl DoctorReport {
    fn check(&self, name: &str) -> &Value {
        let found = self.checks.iter().find(|check| check["name"] == name);
        found.unwrap_or_else(|| panic!("no check {name}: {self:#?}"))
    }

    fn status(&self, name: &str) -> &str {
        self.check(name)["verdict"].as_str().unwrap()
    }

    /// The checks with this status.
    fn names(&self, status: &str) -> Vec<&str> {
        let checks = self.checks.iter().filter(|check| check["verdict"] == status);
        checks.map(|check| check["name"].as_str().unwrap()).collect()
    }

    /// Expects this problem and no other, with its finding and remedy, and the exit code.
    fn expect_only_problem(&self, name: &str, status: &str, finding: &str, remedy: &str) {
        let other = if status == "bad" { "warn" } else { "bad" };
        assert_eq!(self.names(status), [name], "{self:#?}");
        assert_eq!(self.names(other), [""; 0], "{self:#?}");
        self.expect_problem(name, status, finding, remedy);
        assert_eq!(self.code, i32::from(status == "bad"), "{}", self.text);
    }

    fn expect_problem(&self, name: &str, status: &str, finding: &str, remedy: &str) {
        let check = self.check(name);
        assert_eq!(check["verdict"], status, "{self:#?}");
        let text = |field: &str| check[field].as_str().unwrap_or_default().to_owned();
        assert!(text("finding").contains(finding), "no {finding:?} in {check:#}");
        assert!(text("remedy").contains(remedy), "no {remedy:?} in {check:#}");
        let line = self.text.lines().find(|line| line.split_whitespace().nth(1) == Some(name));
        let line = line.unwrap_or_else(|| panic!("no line {name} in\n{}", self.text));
        assert!(line.starts_with(status), "{line}");
        assert!(line.contains(finding) && line.contains(remedy), "{line}");
    }
}

async fn run_doctor(program: &Program, world: &World) -> DoctorReport {
    let json = program.run(world, &["doctor", "--json"]).await;
    let text = program.run(world, &["doctor"]).await;
    assert_eq!(json.code, text.code, "{json:?} {text:?}");
    assert_eq!((json.stderr.as_str(), text.stderr.as_str()), ("", ""));
    for url in [world.environment.database_url.expose(), &amqp_text()] {
        let url = reqwest::Url::parse(url).unwrap();
        let login = format!("{}:{}@", url.username(), url.password().unwrap_or_default());
        assert!(!text.stdout.contains(&login) && !json.stdout.contains(&login), "{}", text.stdout);
    }
    let output: Value = serde_json::from_str(&json.stdout).unwrap();
    let checks = output["checks"].as_array().unwrap().clone();
    let report = DoctorReport { code: json.code, checks, text: text.stdout };
    for status in ["ok", "warn", "bad", "skipped"] {
        let count = report.names(status).len();
        assert_eq!(output["summary"][status], count, "{}", report.text);
        assert!(report.text.contains(&format!("{count} {status}")), "{}", report.text);
    }
    report
}

/// Runs the doctor until its report satisfies a condition: the broker updates its counts of messages
/// and consumers a moment later.
async fn run_doctor_until(
    program: &Program,
    world: &World,
    what: &str,
    condition: impl Fn(&DoctorReport) -> bool,
) -> DoctorReport {
    eventually(what, async || {
        let report = run_doctor(program, world).await;
        condition(&report).then_some(report)
    })
    .await
}

async fn create_payable_order(world: &World, shop: &Shop) -> String {
    let number = Shop::number();
    world.create_payable(&shop.order(&number, 9900)).await;
    number
}

/// An address without a listener.
fn closed_port() -> String {
    free_address().to_string()
}

#[tokio::test]
async fn doctor_of_healthy_system_reports_ok_and_changes_nothing() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let number = create_payable_order(&world, &shop).await;
    world.wait_until_idle().await;
    let ledger = world.ledger_rows().await;
    let mut program = Program::of(&world);
    let clients = "[[client]]\nname = \"shop\"\nmch_ids = [\"1900000109\"]\namqp_user = \"shop\"";
    let file = program.write("clients.toml", clients);
    program.set("WXPAY_CLIENTS_FILE", file);
    program.set("WXPAY_GATEWAY_BACKUP_URL", world.simulator.url());

    let report = run_doctor(&program, &world).await;
    assert_eq!(report.code, 0, "{}", report.text);
    let skipped = ["primary.dns", "primary.tls", "backup.dns", "backup.tls"];
    assert_eq!(report.names("skipped"), skipped.map(|name| format!("gateway.{name}")));
    assert_eq!(report.names("warn"), [""; 0], "{}", report.text);
    for name in [
        "gateway.primary.tcp",
        "gateway.primary.answer",
        "gateway.primary.clock",
        "gateway.backup.clock",
        "keys.self_test",
        "merchants.file",
        "merchants.1900000109",
        "merchants.1900000109.notify_url",
        "merchants.1900000110.key_files",
        "clients.file",
        "clients.shop",
        "broker.connection",
        "broker.topology",
        "parked.orders",
        "parked.notifications",
        "parked.unrouted",
        "queue.orders",
        "queue.notifications",
        "queue.queries",
        "database.connection",
        "database.migrations",
        "database.clock",
        "outbox",
        "orders.created",
        "orders.payable",
        "orders.closing",
        "exceptions",
        "workers",
    ] {
        assert_eq!(report.status(name), "ok", "{name}: {}", report.text);
    }
    assert!(report.text.contains(&number), "the oldest payable order: {}", report.text);
    let rates = "1 worker running; calls a second at most: 1900000109 300, 1900000110 300";
    assert_eq!(report.check("workers")["finding"], rates);
    assert_eq!(world.ledger_rows().await, ledger);
    let done = "select count(*) from operator_actions";
    let done: i64 = sqlx::query_scalar(done).fetch_one(&world.environment.pool).await.unwrap();
    assert_eq!(done, 0, "the doctor changes nothing");
    world.finish().await;
}

#[tokio::test]
async fn doctor_names_wrong_files() {
    let world = World::start().await;
    let program = Program::of(&world);
    let key_file = program.key_file("1900000109");
    let key = fs::read_to_string(&key_file).unwrap();

    fs::set_permissions(&key_file, fs::Permissions::from_mode(0o644)).unwrap();
    let name = "merchants.1900000109.key_files";
    let remedy = "chmod o= ";
    run_doctor(&program, &world).await.expect_only_problem(name, "warn", "1900000109.key", remedy);
    fs::set_permissions(&key_file, fs::Permissions::from_mode(0o600)).unwrap();

    // The report must not contain an invalid key.
    let wrong = &key[..31];
    fs::write(&key_file, wrong).unwrap();
    let report = run_doctor(&program, &world).await;
    let finding = "api_key must be 32 ASCII letters and digits";
    report.expect_only_problem("merchants.1900000109", "bad", finding, "WXPAY_MERCHANTS_FILE");
    assert!(!report.text.contains(wrong));
    assert_eq!(report.status("merchants.1900000110"), "ok", "the other merchant is checked, too");
    fs::remove_file(&key_file).unwrap();
    let report = run_doctor(&program, &world).await;
    report.expect_only_problem(
        "merchants.1900000109",
        "bad",
        "cannot be read",
        "WXPAY_MERCHANTS_FILE",
    );
    fs::write(&key_file, &key).unwrap();
    fs::set_permissions(&key_file, fs::Permissions::from_mode(0o600)).unwrap();

    let mut program = Program::of(&world);
    program.set("WXPAY_MERCHANTS_FILE", "/nowhere/merchants.toml");
    let report = run_doctor(&program, &world).await;
    let finding = "/nowhere/merchants.toml cannot be read";
    report.expect_only_problem("merchants.file", "bad", finding, "deploy/merchants.sample.toml");
    let open = program.write(
        "open.toml",
        &format!(
            "[[merchant]]\nmch_id = \"{key}\"\nappids = [\"wx8888888888888888\"]\n\
             notify_base_url = \"http://203.0.113.24\"\napi_key_file = \"1900000109.key\""
        ),
    );
    program.set("WXPAY_MERCHANTS_FILE", &*open);
    // The file has the key in place of the merchant's number; the report must not repeat it.
    run_doctor(&program, &world).await.expect_only_problem(
        "merchants.…",
        "bad",
        "mch_id must be",
        "",
    );
    let text = fs::read_to_string(&open).unwrap().replace(&key, "1900000111");
    fs::write(&open, text).unwrap();
    let name = "merchants.1900000111.notify_url";
    let finding = "http://203.0.113.24/notify/1900000111/payment";
    run_doctor(&program, &world).await.expect_only_problem(name, "warn", finding, "https://");
    world.finish().await;
}

#[tokio::test]
async fn doctor_checks_clients_against_merchants() {
    let world = World::start().await;
    let mut program = Program::of(&world);
    program.set("WXPAY_INGRESS_USER", "ingress");
    let report = run_doctor(&program, &world).await;
    let finding = "WXPAY_INGRESS_USER: needs WXPAY_CLIENTS_FILE";
    report.expect_only_problem("clients.file", "bad", finding, "correct WXPAY_INGRESS_USER");

    let file = |entry: &str| program.write("clients.toml", entry);
    let path = file("[[client]]\nname = \"shop\"\nmch_ids = [\"1900000109\", \"1900000999\"]");
    let mut program = Program::of(&world);
    program.set("WXPAY_INGRESS_USER", "ingress");
    program.set("WXPAY_CLIENTS_FILE", &*path);
    let report = run_doctor(&program, &world).await;
    report.expect_only_problem("clients.shop", "warn", "1900000999", "merchants file");
    let token = Shop::number();
    let client =
        format!("[[client]]\nname = \"shop\"\nmch_ids = \"*\"\ntoken_sha256 = [\"{token}\"]");
    fs::write(&path, client).unwrap();
    let report = run_doctor(&program, &world).await;
    report.expect_only_problem("clients.shop", "bad", "64 hex digits", "WXPAY_CLIENTS_FILE");
    assert!(!report.text.contains(&token), "{}", report.text);
    fs::write(&path, "client = 1").unwrap();
    let report = run_doctor(&program, &world).await;
    report.expect_only_problem("clients.file", "bad", "not valid", "clients.sample.toml");
    world.finish().await;
}

#[tokio::test]
async fn doctor_names_topology_drift_and_parked_messages() {
    let mut world = World::start().await;
    let program = Program::of(&world);
    let amqp = Amqp::connect(&world.environment).await;
    let missing = amqp.qualified_name("orders.delay.2m");
    amqp.delete(&missing).await;
    // Twice, because the doctor must not declare the queue.
    for _ in 0..2 {
        let report = run_doctor(&program, &world).await;
        let finding = format!("missing: queue {missing}");
        report.expect_only_problem("broker.topology", "bad", &finding, "start or restart a worker");
    }
    world.stop_workers().await;
    let queues = ["orders", "notifications", "queries"];
    let report = run_doctor_until(&program, &world, "queues without consumers", |report| {
        queues.iter().all(|queue| report.status(&format!("queue.{queue}")) == "warn")
            && report.status("workers") == "warn"
    })
    .await;
    for queue in queues {
        let name = format!("queue.{queue}");
        let finding = "no worker consumes";
        report.expect_problem(&name, "warn", finding, "wxpay-worker run");
    }
    report.expect_problem("workers", "warn", "none reports", "wxpay-worker run");
    world.add_worker().await;
    run_doctor_until(&program, &world, "the restored topology", |report| {
        report.status("broker.topology") == "ok"
    })
    .await;

    let id = Uuid::now_v7().to_string();
    let properties = BasicProperties::default().with_message_id(id.as_str().into());
    let body = world.md5_shop().order(&Shop::number(), 9900).to_string();
    amqp.publish(
        &amqp.qualified_name("orders.parked"),
        "order.create",
        body.as_bytes(),
        properties,
    )
    .await;
    let report = run_doctor_until(&program, &world, "the parked message", |report| {
        report.status("parked.orders") != "ok"
    })
    .await;
    let remedy = "wxpay-worker parked list orders";
    report.expect_only_problem("parked.orders", "bad", "1 message waits for an operator", remedy);
    let discard = ["parked", "discard", "orders", "#1", "--reason", "seen"];
    program.run_ok(&world, &discard).await;
    run_doctor_until(&program, &world, "no parked message", |report| report.code == 0).await;
    amqp.close().await;
    world.finish().await;
}

#[tokio::test]
async fn doctor_names_unsettled_money_with_its_command() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let program = Program::of(&world);
    let number = create_payable_order(&world, &shop).await;
    world.wait_until_idle().await;
    let run = async |statement: &'static str| {
        sqlx::query(statement).execute(&world.environment.pool).await.unwrap();
    };

    // The event is due later, so no relay publishes it.
    run("insert into outbox (event_id, cause, type, mch_id, out_trade_no, seq, created_at,
             next_attempt_at)
         select event_id, 'transition', 'order.payable', mch_id, out_trade_no, seq,
             now() - interval '1 hour', now() + interval '1 hour'
         from order_transitions where seq = 2")
    .await;
    let report = run_doctor(&program, &world).await;
    let finding = "events that wait for the broker: 1, the oldest for 60 min";
    report.expect_only_problem("outbox", "bad", finding, "a worker runs and reaches the broker");
    run("update outbox set next_attempt_at = now()").await;
    world.wait_until_idle().await;

    run("update orders set time_expire = time_expire - interval '4 hours'").await;
    let report = run_doctor(&program, &world).await;
    let explain = format!("wxpay-worker order explain {} {number}", shop.mch_id);
    report.expect_only_problem("orders.payable", "bad", "expired 2 h ago", &explain);
    run("update orders set time_expire = time_expire + interval '4 hours'").await;
    assert_eq!(run_doctor(&program, &world).await.code, 0);

    let wrong = PayOptions {
        total_fee: Some(Fen::new(1).unwrap()),
        notify_only: true,
        ..PayOptions::default()
    };
    let body = world.unsent_notification(&shop, &number, wrong);
    world.notify_ok(&shop.mch_id, &body).await;
    world.exception_events(&number, 1).await;
    let report = run_doctor(&program, &world).await;
    let remedy = "wxpay-worker exceptions list";
    report.expect_only_problem("exceptions", "bad", "open: amount_mismatch 1", remedy);
    world.finish().await;
}

#[tokio::test]
async fn doctor_names_unreachable_servers_once_each() {
    let world = World::start().await;
    let mut program = Program::of(&world);
    let login = "broker-user:s3cret-of-the-broker";
    program.set("WXPAY_AMQP_URL", format!("amqp://{login}@{}/%2f", closed_port()));
    let report = run_doctor(&program, &world).await;
    report.expect_only_problem("broker.connection", "bad", "refused", "start RabbitMQ");
    assert!(!report.text.contains("s3cret") && !report.text.contains("broker-user"));
    for name in ["broker.topology", "parked.unrouted", "queue.notifications"] {
        assert_eq!(report.status(name), "skipped");
    }
    assert_eq!(report.status("exceptions"), "ok", "the other checks run");

    let mut program = Program::of(&world);
    program.set("WXPAY_DATABASE_URL", format!("postgres://{login}@{}/pay", closed_port()));
    let report = run_doctor(&program, &world).await;
    report.expect_only_problem("database.connection", "bad", "refused", "start Postgres");
    assert!(!report.text.contains("s3cret") && !report.text.contains("broker-user"));
    for name in ["database.migrations", "database.clock", "outbox", "orders.created", "exceptions"]
    {
        assert_eq!(report.status(name), "skipped");
    }
    assert_eq!(report.status("broker.topology"), "ok", "the other checks run");

    let empty = TestEnvironment::create(None).await;
    program.set("WXPAY_DATABASE_URL", empty.database_url.expose());
    let report = run_doctor(&program, &world).await;
    let finding = "migrations of this version not applied";
    report.expect_only_problem("database.migrations", "bad", finding, "`wxpay-worker migrate`");
    assert_eq!(report.status("outbox"), "skipped");
    program.run_ok(&world, &["migrate"]).await;
    assert_eq!(run_doctor(&program, &world).await.code, 0);
    empty.remove().await;

    // An invalid setting ends the doctor as every other command.
    program.set("WXPAY_DATABASE_URL", "mysql://nowhere");
    let output = program.run(&world, &["doctor"]).await;
    assert_eq!((output.code, output.stdout.as_str()), (64, ""), "{output:?}");
    assert!(output.stderr.contains("WXPAY_DATABASE_URL"), "{output:?}");
    world.finish().await;
}

/// A gateway that answers every request with 404 and this `Date`, or never answers without a date.
struct Gateway {
    address: String,
    _task: AbortOnDropHandle<()>,
}

impl Gateway {
    async fn start(date: Option<OffsetDateTime>) -> Self {
        let form = format_description!(
            "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
        );
        let date = date.map(|date| date.format(form).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let task = tokio::spawn(async move {
            let mut open_connections = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let Some(date) = &date else {
                    open_connections.push(stream);
                    continue;
                };
                let mut request = [0; 1024];
                let read = stream.read(&mut request).await.unwrap_or(0);
                if !request[..read].starts_with(b"GET / HTTP/1.1\r\n") {
                    continue; // not the doctor's harmless request
                }
                let head = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close";
                let _ =
                    stream.write_all(format!("{head}\r\ndate: {date}\r\n\r\n").as_bytes()).await;
            }
        });
        Self { address, _task: AbortOnDropHandle::new(task) }
    }
}

#[tokio::test]
async fn doctor_names_gateway_down_silent_or_clock_off() {
    let world = World::start().await;
    let with = |primary: String, backup: String| {
        let mut program = Program::of(&world);
        program.set("WXPAY_GATEWAY_URL", primary);
        program.set("WXPAY_GATEWAY_BACKUP_URL", backup);
        program
    };
    let good = world.simulator.url();
    let unreachable = format!("http://{}", closed_port());
    let report = run_doctor(&with(unreachable.clone(), good.clone()), &world).await;
    report.expect_only_problem("gateway.primary.tcp", "bad", "cannot be connected to", "firewall");
    assert_eq!(report.status("gateway.primary.clock"), "skipped");
    assert_eq!(report.status("gateway.backup.clock"), "ok");
    let report = run_doctor(&with(good.clone(), unreachable), &world).await;
    report.expect_only_problem("gateway.backup.tcp", "warn", "cannot be connected to", "firewall");

    let nowhere = "http://no-such-host.invalid".to_owned();
    let report = run_doctor(&with(nowhere, good.clone()), &world).await;
    let finding = "no-such-host.invalid is not found";
    report.expect_only_problem("gateway.primary.dns", "bad", finding, "name servers");

    let ago = |span| Some(OffsetDateTime::now_utc() - span);
    let hour = Gateway::start(ago(Duration::HOUR)).await;
    let at = |gateway: &Gateway| format!("http://{}", gateway.address);
    let report = run_doctor(&with(at(&hour), good.clone()), &world).await;
    let clock = "gateway.primary.clock";
    report.expect_only_problem(
        clock,
        "bad",
        "s ahead of the gateway's",
        "timedatectl set-ntp true",
    );
    assert_eq!(report.status("gateway.primary.answer"), "ok", "404 is an answer");
    let report = run_doctor(&with(format!("https://{}", hour.address), good.clone()), &world).await;
    report.expect_only_problem("gateway.primary.tls", "bad", "TLS with", "CA certificates");

    let silent = Gateway::start(None).await;
    let report = run_doctor(&with(at(&silent), good), &world).await;
    report.expect_only_problem(
        "gateway.primary.answer",
        "bad",
        "no answer in time",
        "check the network",
    );
    world.finish().await;
}
