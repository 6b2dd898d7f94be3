//! The whole system as processes on servers of its own, each way between them through a proxy.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use broker::Namespace;
use harness::TestMerchant;
use harness::environment::with_address;
use harness::events::EventRecorder;
use harness::merchants::simulator_config;
use harness::proxy::{Proxy, Way};
use harness::servers::{Server, Servers};
use simulator::{Handle, Simulator};
use sqlx::postgres::{PgPool, PgPoolOptions};
use time::OffsetDateTime;
use tokio::net::TcpListener;
use uuid::Uuid;
use wechatpay_v2::SignType;
use worker::DatabaseUrl;

use crate::process::Process;

pub(crate) const WORKERS: usize = 2;
pub(crate) const INGRESSES: usize = 2;
/// What takes minutes takes seconds.
pub(crate) const HURRY: &str = "schedule=return";

pub(crate) struct System {
    pub(crate) servers: Servers,
    pub(crate) simulator: Handle,
    pub(crate) merchants: Vec<TestMerchant>,
    pub(crate) workers: Vec<Process>,
    pub(crate) ingresses: Vec<Process>,
    pub(crate) wires: Wires,
    pub(crate) http: reqwest::Client,
    pub(crate) namespace: Namespace,
    pub(crate) events: EventRecorder,
    pub(crate) begun: OffsetDateTime,
    /// When the broker last lost messages that it had confirmed.
    pub(crate) lost: Mutex<Option<OffsetDateTime>>,
    folder: PathBuf,
    keep: bool,
}

/// Every way between two parties.
pub(crate) struct Wires {
    pub(crate) worker_to_rabbit: Vec<Proxy>,
    pub(crate) ingress_to_rabbit: Vec<Proxy>,
    pub(crate) worker_to_postgres: Vec<Proxy>,
    pub(crate) to_gateway: Proxy,
    pub(crate) to_backup: Proxy,
    pub(crate) wechat_to_ingress: Proxy,
    pub(crate) shop_to_ingress: Vec<Proxy>,
    /// A shop that speaks AMQP itself, and the listener of events: nobody harms these.
    pub(crate) shop_to_rabbit: Proxy,
}

impl Wires {
    pub(crate) fn all(&self) -> impl Iterator<Item = &Proxy> {
        let many = [
            &self.worker_to_rabbit,
            &self.ingress_to_rabbit,
            &self.worker_to_postgres,
            &self.shop_to_ingress,
        ];
        let single =
            [&self.to_gateway, &self.to_backup, &self.wechat_to_ingress, &self.shop_to_rabbit];
        many.into_iter().flatten().chain(single)
    }
}

impl System {
    pub(crate) async fn start(keep: bool) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let servers = Servers::start().await;
        let folder = std::env::temp_dir().join(format!("wxpay-faults-{}", Uuid::new_v4().simple()));
        fs::create_dir_all(&folder).unwrap();
        println!("logs are in {}", folder.display());
        let rabbit = servers.address(Server::RabbitMq);
        let postgres = servers.address(Server::Postgres);

        let merchants = vec![
            TestMerchant::new("1900000109", SignType::Md5),
            TestMerchant::new("1900000110", SignType::HmacSha256),
        ];
        let mut config = simulator_config(&merchants);
        config.close_age_min = Duration::from_secs(1);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let simulator = Simulator::start(config, listener).unwrap();

        let public: Vec<SocketAddr> = (0..INGRESSES).map(|_| free_address()).collect();
        let private: Vec<SocketAddr> = (0..INGRESSES).map(|_| free_address()).collect();
        let gateway = simulator.addr().to_string();
        let wires = Wires {
            worker_to_rabbit: several(WORKERS, &rabbit).await,
            ingress_to_rabbit: several(INGRESSES, &rabbit).await,
            worker_to_postgres: several(WORKERS, &postgres).await,
            to_gateway: Proxy::to(gateway.clone(), true).await,
            to_backup: Proxy::to(gateway, true).await,
            wechat_to_ingress: Proxy::to_each(public.iter().map(ToString::to_string)).await,
            shop_to_ingress: {
                let mut ways = Vec::new();
                for address in &private {
                    ways.push(Proxy::to(address.to_string(), true).await);
                }
                ways
            },
            shop_to_rabbit: Proxy::to(rabbit, true).await,
        };

        let merchants_file = write_merchants(&folder, &merchants, wires.wechat_to_ingress.address);
        let (database, amqp) = (servers.url(Server::Postgres), servers.url(Server::RabbitMq));
        worker::migrate(&DatabaseUrl::parse(database.as_str()).unwrap()).await.unwrap();
        let log = |name: &str| folder.join(format!("{name}.log"));
        let workers = (0..WORKERS).map(|at| {
            let name = format!("worker-{at}");
            let to_postgres = wires.worker_to_postgres[at].address;
            let to_rabbit = wires.worker_to_rabbit[at].address;
            let variables = vec![
                ("WXPAY_DATABASE_URL", with_address(database.clone(), to_postgres).to_string()),
                ("WXPAY_AMQP_URL", with_address(amqp.clone(), to_rabbit).to_string()),
                ("WXPAY_MERCHANTS_FILE", merchants_file.to_str().unwrap().to_owned()),
                ("WXPAY_GATEWAY_URL", format!("http://{}", wires.to_gateway.address)),
                ("WXPAY_GATEWAY_BACKUP_URL", format!("http://{}", wires.to_backup.address)),
                ("WXPAY_OPS_ADDR", free_address().to_string()),
                ("WXPAY_LOG", "debug".to_owned()),
            ];
            Process::new(name.clone(), "wxpay-worker", log(&name), variables)
        });
        let ingresses = (0..INGRESSES).map(|at| {
            let name = format!("ingress-{at}");
            let to_rabbit = wires.ingress_to_rabbit[at].address;
            let variables = vec![
                ("WXPAY_AMQP_URL", with_address(amqp.clone(), to_rabbit).to_string()),
                ("WXPAY_PUBLIC_ADDR", public[at].to_string()),
                ("WXPAY_PRIVATE_ADDR", private[at].to_string()),
                ("WXPAY_LOG", "debug".to_owned()),
            ];
            Process::new(name.clone(), "wxpay-ingress", log(&name), variables)
        });
        let (workers, ingresses) = (workers.collect::<Vec<_>>(), ingresses.collect::<Vec<_>>());
        let namespace = Namespace::parse("wxpay").unwrap();
        let shop_amqp = with_address(amqp, wires.shop_to_rabbit.address).to_string();
        let events = EventRecorder::start(shop_amqp, &namespace);
        for process in workers.iter().chain(&ingresses) {
            process.start(HURRY);
        }
        let http =
            reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(12)).build().unwrap();
        let system = Self {
            servers,
            simulator,
            merchants,
            workers,
            ingresses,
            wires,
            http,
            namespace,
            events,
            begun: OffsetDateTime::now_utc(),
            lost: Mutex::new(None),
            folder,
            keep,
        };
        system.events.wait_until_listening().await;
        system.is_ready().await;
        system
    }

    pub(crate) fn processes(&self) -> impl Iterator<Item = &Process> {
        self.workers.iter().chain(&self.ingresses)
    }

    /// A connection to the database that nobody harms.
    pub(crate) async fn pool(&self) -> PgPool {
        let url = self.servers.url(Server::Postgres);
        PgPoolOptions::new().max_connections(2).connect(url.as_str()).await.unwrap()
    }

    /// Starts the servers that do not run, and sends everybody to where they are now.
    pub(crate) async fn servers_up(&self) {
        self.servers.up().await;
        let rabbit = self.servers.address(Server::RabbitMq);
        let postgres = self.servers.address(Server::Postgres);
        let to_rabbit = self.wires.worker_to_rabbit.iter().chain(&self.wires.ingress_to_rabbit);
        to_rabbit.chain([&self.wires.shop_to_rabbit]).for_each(|proxy| proxy.aim(rabbit.clone()));
        self.wires.worker_to_postgres.iter().for_each(|proxy| proxy.aim(postgres.clone()));
    }

    /// Mends everything, and waits until all are ready.
    pub(crate) async fn heal(&self) {
        self.wires.all().for_each(Proxy::open);
        self.servers_up().await;
        self.processes().for_each(|process| process.restart_if_ended(HURRY));
        self.is_ready().await;
    }

    async fn is_ready(&self) {
        for way in &self.wires.shop_to_ingress {
            harness::eventually("an ingress to be ready", async || {
                let url = format!("http://{}/readyz", way.address);
                let answer = self.http.get(url).send().await.ok()?;
                answer.status().is_success().then_some(())
            })
            .await;
        }
    }

    /// Runs a verb of the operator, and returns what it prints.
    pub(crate) async fn operator(&self, arguments: &[&str]) -> String {
        let beside = std::env::current_exe().unwrap();
        let mut command = Command::new(beside.parent().unwrap().join("wxpay-worker"));
        command
            .args(arguments)
            .env("WXPAY_DATABASE_URL", self.servers.url(Server::Postgres).as_str())
            .env("WXPAY_AMQP_URL", self.servers.url(Server::RabbitMq).as_str())
            .env("WXPAY_MERCHANTS_FILE", self.folder.join("merchants.toml"))
            .env("USER", "faults");
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        text(&output.stdout) + &text(&output.stderr)
    }

    /// Ends everything and removes it, unless it is to be kept.
    pub(crate) async fn end(self) {
        for process in self.processes() {
            process.signal("KILL");
            process.ends().await;
        }
        let folder = self.folder.clone();
        if !self.keep {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

async fn several(count: usize, target: &str) -> Vec<Proxy> {
    let mut proxies = Vec::new();
    for _ in 0..count {
        proxies.push(Proxy::to(target.to_owned(), true).await);
    }
    proxies
}

/// An address that was free a moment ago; the process that gets it keeps it over its restarts.
fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn write_merchants(
    folder: &std::path::Path,
    merchants: &[TestMerchant],
    public: SocketAddr,
) -> PathBuf {
    let mut text = String::new();
    for TestMerchant { mch_id, appid, key, sign_type, .. } in merchants {
        fs::write(folder.join(format!("{mch_id}.key")), key).unwrap();
        let sign_type = sign_type.as_str();
        text += &format!(
            "[[merchant]]\nmch_id = \"{mch_id}\"\nappids = [\"{appid}\"]\n\
             sign_type = \"{sign_type}\"\nnotify_base_url = \"http://{public}\"\n\
             api_key_file = \"{mch_id}.key\"\n"
        );
    }
    let file = folder.join("merchants.toml");
    fs::write(&file, text).unwrap();
    file
}

/// A wire that passes everything again.
pub(crate) fn mend(proxy: &Proxy) {
    proxy.set(Way::Open);
}
