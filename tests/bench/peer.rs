//! The peer: another implementation, run beside this one on the same servers. Its programs stay
//! where they are; a folder in `target` holds links to them and the packages that they import.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::TestMerchant;
use harness::environment::TestEnvironment;
use harness::merchants::simulator_config;
use harness::run_folder::RunFolder;
use lapin::options::{ExchangeDeleteOptions, QueueDeleteOptions};
use lapin::{Connection, ConnectionProperties};
use services::ports::free_address;
use services::process::command_tied_to_thread;
use simulator::Handle;
use sqlx::AssertSqlSafe;
use tokio::net::TcpStream;
use wechatpay_v2::SignType;

use crate::cost::Meter;
use crate::program::Program;
use crate::shop_queue::ShopQueue;
use crate::system::start_simulator;

const START_TIMEOUT: Duration = Duration::from_secs(30);
const PROGRAMS: [&str; 3] = ["create.mjs", "ingress.mjs", "worker.mjs"];
const LINKED: [&str; 5] = ["package.json", "common.mjs", "create.mjs", "ingress.mjs", "worker.mjs"];
/// The names that the peer gives them.
const QUEUE: &str = "peer.notify";
const EVENTS: &str = "peer.events";
const SHOP: &str = "peer.bench";
const MCH_ID: &str = "1900000109";

pub(crate) struct Peer {
    source: PathBuf,
    folder: PathBuf,
}

/// The peer's running programs.
pub(crate) struct PeerSystem {
    pub(crate) environment: TestEnvironment,
    pub(crate) shop: ShopQueue,
    pub(crate) merchant: TestMerchant,
    pub(crate) address: SocketAddr,
    _simulator: Handle,
    programs: Vec<Program>,
    folder: RunFolder,
}

/// Which of the peer's programs run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parts {
    /// What creates orders, with a gateway that takes so long.
    Create(Duration),
    Ingress,
    IngressAndWorker,
}

impl Peer {
    /// Links the peer's files and installs the packages that they import, if they are missing.
    pub(crate) fn prepare(source: &Path) -> Result<Self> {
        let shown = source.display();
        let source =
            source.canonicalize().with_context(|| format!("there is no peer in {shown}"))?;
        let program = std::env::current_exe()?;
        let target = program.parent().and_then(Path::parent).context("no target folder")?;
        let folder = target.join("bench-peer");
        fs::create_dir_all(&folder)?;
        for name in LINKED {
            let link = folder.join(name);
            let _ = fs::remove_file(&link);
            symlink(source.join(name), link)?;
        }
        if !folder.join("node_modules").is_dir() {
            let mut npm = Command::new("npm");
            npm.args(["install", "--no-audit", "--no-fund", "--no-package-lock"]);
            let status = npm.current_dir(&folder).status().context("cannot run npm")?;
            ensure!(status.success(), "npm cannot install the packages of the peer");
        }
        Ok(Self { source, folder })
    }

    pub(crate) async fn start(&self, parts: Parts) -> Result<PeerSystem> {
        let environment = TestEnvironment::create(None).await;
        let schema = fs::read_to_string(self.source.join("schema.sql"))?;
        sqlx::raw_sql(AssertSqlSafe(schema)).execute(&environment.pool).await?;
        let merchant = TestMerchant::new(MCH_ID, SignType::Md5);
        let delay = if let Parts::Create(delay) = parts { delay } else { Duration::ZERO };
        let simulator =
            start_simulator(simulator_config(std::slice::from_ref(&merchant)), delay).await?;
        let address = free_address();
        let variables = vec![
            ("AMQP", environment.amqp_text.clone()),
            ("PG", environment.database_url.expose().to_owned()),
            ("PORT", address.port().to_string()),
            ("GATEWAY", simulator.url()),
            ("MCH_ID", merchant.mch_id.clone()),
            ("APPID", merchant.appid.clone()),
            ("MCH_KEY", merchant.key.clone()),
            ("NO_PROXY", "127.0.0.1".to_owned()),
        ];
        let shop = ShopQueue::bind(&environment.amqp_text, EVENTS, SHOP).await?;
        let folder = RunFolder::create("bench-peer")?;
        let scripts: &[(&'static str, &str)] = match parts {
            Parts::Create(_) => &[("peer create", PROGRAMS[0])],
            Parts::Ingress => &[("peer ingress", PROGRAMS[1])],
            Parts::IngressAndWorker => {
                &[("peer ingress", PROGRAMS[1]), ("peer worker", PROGRAMS[2])]
            }
        };
        let mut programs = Vec::new();
        for (name, script) in scripts {
            let command = self.command(script);
            programs.push(Program::start(name, command, &variables, folder.path())?);
        }
        let listens = async || TcpStream::connect(address).await.is_ok();
        let ready = programs[0].wait_until(START_TIMEOUT, listens).await;
        ready.with_context(|| folder.log_ends())?;
        Ok(PeerSystem {
            environment,
            shop,
            merchant,
            address,
            _simulator: simulator,
            programs,
            folder,
        })
    }

    /// Imports are looked up beside the link, not beside the file that it leads to.
    fn command(&self, script: &str) -> Command {
        let mut command = command_tied_to_thread("node");
        command.args(["--preserve-symlinks", "--preserve-symlinks-main"]);
        command.arg(self.folder.join(script));
        command
    }
}

impl PeerSystem {
    pub(crate) fn meter(&self) -> Meter {
        Meter::of(self.programs.iter(), &self.environment.pool)
    }

    /// Kills the programs, and removes the database and the queues.
    pub(crate) async fn remove(mut self) -> Result<()> {
        for program in &mut self.programs {
            program.check().with_context(|| self.folder.log_ends())?;
        }
        self.programs.clear();
        self.shop.remove().await?;
        let amqp_url = &self.environment.amqp_text;
        let connection = Connection::connect(amqp_url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        channel.queue_delete(QUEUE.into(), QueueDeleteOptions::default()).await?;
        channel.exchange_delete(EVENTS.into(), ExchangeDeleteOptions::default()).await?;
        connection.close(200, "OK".into()).await?;
        self.environment.remove().await;
        Ok(())
    }
}
