//! Runs the whole system as processes on their own servers, with a proxy on each connection.

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
use harness::proxy::Proxy;
use harness::servers::{Server, Servers};
use services::ports::free_address;
use simulator::{Handle, Simulator};
use sqlx::postgres::{PgPool, PgPoolOptions};
use time::OffsetDateTime;
use tokio::net::TcpListener;
use uuid::Uuid;
use wechatpay_v2::SignType;
use worker::DatabaseUrl;

use crate::process::ServiceProcess;

pub(crate) const WORKERS: usize = 2;
pub(crate) const INGRESSES: usize = 2;
/// The failpoint that shortens the reconciler's waits from minutes to seconds.
pub(crate) const FAST_SCHEDULE: &str = "schedule=return";

pub(crate) struct System {
    pub(crate) servers: Servers,
    pub(crate) simulator: Handle,
    pub(crate) merchants: Vec<TestMerchant>,
    pub(crate) workers: Vec<ServiceProcess>,
    pub(crate) ingresses: Vec<ServiceProcess>,
    pub(crate) links: Links,
    pub(crate) http: reqwest::Client,
    pub(crate) namespace: Namespace,
    pub(crate) events: EventRecorder,
    pub(crate) started_at: OffsetDateTime,
    /// When the broker last lost messages that it had confirmed.
    pub(crate) broker_lost_at: Mutex<Option<OffsetDateTime>>,
    folder: PathBuf,
    keep: bool,
}

/// A proxy for every connection between two components.
pub(crate) struct Links {
    pub(crate) worker_to_rabbit: Vec<Proxy>,
    pub(crate) ingress_to_rabbit: Vec<Proxy>,
    pub(crate) worker_to_postgres: Vec<Proxy>,
    pub(crate) to_gateway: Proxy,
    pub(crate) to_backup: Proxy,
    pub(crate) wechat_to_ingress: Proxy,
    pub(crate) shop_to_ingress: Vec<Proxy>,
    /// The AMQP connections of the shop and of the event recorder. No fault is injected here.
    pub(crate) shop_to_rabbit: Proxy,
}

impl Links {
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
        let links = Links {
            worker_to_rabbit: proxies_to(WORKERS, &rabbit).await,
            ingress_to_rabbit: proxies_to(INGRESSES, &rabbit).await,
            worker_to_postgres: proxies_to(WORKERS, &postgres).await,
            to_gateway: Proxy::to(gateway.clone(), true).await,
            to_backup: Proxy::to(gateway, true).await,
            wechat_to_ingress: Proxy::to_each(public.iter().map(ToString::to_string)).await,
            shop_to_ingress: {
                let mut proxies = Vec::new();
                for address in &private {
                    proxies.push(Proxy::to(address.to_string(), true).await);
                }
                proxies
            },
            shop_to_rabbit: Proxy::to(rabbit, true).await,
        };

        let merchants_file = write_merchants(&folder, &merchants, links.wechat_to_ingress.address);
        let database = servers.url(Server::Postgres);
        let amqp = servers.url(Server::RabbitMq);
        worker::migrate(&DatabaseUrl::parse(database.as_str()).unwrap()).await.unwrap();
        let log = |name: &str| folder.join(format!("{name}.log"));
        let workers = (0..WORKERS).map(|at| {
            let name = format!("worker-{at}");
            let to_postgres = links.worker_to_postgres[at].address;
            let to_rabbit = links.worker_to_rabbit[at].address;
            let variables = vec![
                ("WXPAY_DATABASE_URL", with_address(database.clone(), to_postgres).to_string()),
                ("WXPAY_AMQP_URL", with_address(amqp.clone(), to_rabbit).to_string()),
                ("WXPAY_MERCHANTS_FILE", merchants_file.to_str().unwrap().to_owned()),
                ("WXPAY_GATEWAY_URL", format!("http://{}", links.to_gateway.address)),
                ("WXPAY_GATEWAY_BACKUP_URL", format!("http://{}", links.to_backup.address)),
                ("WXPAY_OPS_ADDR", free_address().to_string()),
                ("WXPAY_LOG", "debug".to_owned()),
            ];
            ServiceProcess::new(name.clone(), "wxpay-worker", log(&name), variables)
        });
        let ingresses = (0..INGRESSES).map(|at| {
            let name = format!("ingress-{at}");
            let to_rabbit = links.ingress_to_rabbit[at].address;
            let variables = vec![
                ("WXPAY_AMQP_URL", with_address(amqp.clone(), to_rabbit).to_string()),
                ("WXPAY_PUBLIC_ADDR", public[at].to_string()),
                ("WXPAY_PRIVATE_ADDR", private[at].to_string()),
                ("WXPAY_LOG", "debug".to_owned()),
            ];
            ServiceProcess::new(name.clone(), "wxpay-ingress", log(&name), variables)
        });
        let workers: Vec<_> = workers.collect();
        let ingresses: Vec<_> = ingresses.collect();
        let namespace = Namespace::parse("wxpay").unwrap();
        let shop_amqp = with_address(amqp, links.shop_to_rabbit.address).to_string();
        let events = EventRecorder::start(shop_amqp, &namespace);
        for process in workers.iter().chain(&ingresses) {
            process.start(FAST_SCHEDULE);
        }
        let http =
            reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(12)).build().unwrap();
        let system = Self {
            servers,
            simulator,
            merchants,
            workers,
            ingresses,
            links,
            http,
            namespace,
            events,
            started_at: OffsetDateTime::now_utc(),
            broker_lost_at: Mutex::new(None),
            folder,
            keep,
        };
        system.events.wait_until_listening().await;
        system.wait_until_ready().await;
        system
    }

    pub(crate) fn processes(&self) -> impl Iterator<Item = &ServiceProcess> {
        self.workers.iter().chain(&self.ingresses)
    }

    /// A connection to the database without a proxy.
    pub(crate) async fn pool(&self) -> PgPool {
        let url = self.servers.url(Server::Postgres);
        PgPoolOptions::new().max_connections(2).connect(url.as_str()).await.unwrap()
    }

    /// Starts the servers that do not run and points the proxies to their addresses.
    pub(crate) async fn start_servers(&self) {
        self.servers.up().await;
        let rabbit = self.servers.address(Server::RabbitMq);
        let postgres = self.servers.address(Server::Postgres);
        let to_rabbit = self.links.worker_to_rabbit.iter().chain(&self.links.ingress_to_rabbit);
        to_rabbit
            .chain([&self.links.shop_to_rabbit])
            .for_each(|proxy| proxy.set_target(rabbit.clone()));
        self.links.worker_to_postgres.iter().for_each(|proxy| proxy.set_target(postgres.clone()));
    }

    /// Removes every fault and waits until every ingress is ready.
    pub(crate) async fn restore(&self) {
        self.links.all().for_each(Proxy::open);
        self.start_servers().await;
        self.processes().for_each(|process| process.restart_if_exited(FAST_SCHEDULE));
        self.wait_until_ready().await;
    }

    async fn wait_until_ready(&self) {
        for proxy in &self.links.shop_to_ingress {
            harness::eventually("a ready ingress", async || {
                let url = format!("http://{}/readyz", proxy.address);
                let answer = self.http.get(url).send().await.ok()?;
                answer.status().is_success().then_some(())
            })
            .await;
        }
    }

    /// Runs an operator command and returns its output.
    pub(crate) async fn operator(&self, arguments: &[&str]) -> String {
        let campaign = std::env::current_exe().unwrap();
        let mut command = Command::new(campaign.parent().unwrap().join("wxpay-worker"));
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

    /// Kills every process and removes the folder, unless the campaign keeps it.
    pub(crate) async fn stop(self) {
        for process in self.processes() {
            process.signal("KILL");
            process.exited().await;
        }
        let folder = self.folder.clone();
        if !self.keep {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

async fn proxies_to(count: usize, target: &str) -> Vec<Proxy> {
    let mut proxies = Vec::new();
    for _ in 0..count {
        proxies.push(Proxy::to(target.to_owned(), true).await);
    }
    proxies
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
