//! The system under test: the worker and the ingress as processes, on a database and a namespace of
//! their own. The simulator and the shop's queue are in this process.

use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use broker::{Exchange, exchange_name};
use harness::environment::{TestEnvironment, with_address};
use harness::merchants::simulator_config;
use harness::run_folder::RunFolder;
use harness::{Shop, TestMerchant};
use service::listener;
use services::ports::free_address;
use services::process::command_tied_to_thread;
use simulator::{Fault, FaultPlan, Handle, PlannedFault, Simulator};
use wechatpay_v2::SignType;

use crate::cost::Meter;
use crate::frames::FrameCounter;
use crate::http::{HttpConnection, get};
use crate::program::Program;
use crate::settings::Settings;
use crate::shop_queue::ShopQueue;

const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Practically no limit: all load comes from one address.
const PUBLIC_RATE: u32 = 1_000_000;
/// More orders than any row creates.
const SIMULATOR_ORDERS_MAX: usize = 5_000_000;
const FIRST_MCH_ID: u32 = 1_900_000_109;

pub(crate) struct System {
    pub(crate) environment: TestEnvironment,
    pub(crate) simulator: Handle,
    pub(crate) merchants: Vec<TestMerchant>,
    pub(crate) public: SocketAddr,
    pub(crate) private: SocketAddr,
    /// A queue that a shop has bound to all events.
    pub(crate) shop: ShopQueue,
    pub(crate) frames: Option<FrameCounter>,
    worker: Option<Program>,
    ingress: Option<Program>,
    folder: RunFolder,
}

/// How a system is started.
#[derive(Clone, Copy, Default)]
pub(crate) struct Options {
    /// How long the simulator takes for each call.
    pub(crate) gateway_delay: Duration,
    /// Count the AMQP frames, with a proxy that slows everything down.
    pub(crate) count_frames: bool,
}

impl System {
    pub(crate) async fn start(settings: &Settings, options: Options) -> Result<Self> {
        let folder = RunFolder::create("bench")?;
        let environment = TestEnvironment::create(None).await;
        let merchants: Vec<_> = (0..settings.merchants)
            .map(|n| TestMerchant::new(&(FIRST_MCH_ID + n as u32).to_string(), SignType::Md5))
            .collect();
        let simulator =
            start_simulator(simulator_config(&merchants), options.gateway_delay).await?;
        let public = free_address();
        let private = free_address();
        write_merchants(&folder, &merchants, public, settings.rate)?;
        let frames = match options.count_frames {
            true => Some(FrameCounter::start().await?),
            false => None,
        };
        let events = exchange_name(&environment.namespace, Exchange::Events);
        let queue = format!("shop.{}.bench", environment.namespace);
        let mut system = Self {
            shop: ShopQueue::bind(&environment.amqp_text, &events, &queue).await?,
            environment,
            simulator,
            merchants,
            public,
            private,
            frames,
            worker: None,
            ingress: None,
            folder,
        };
        let started = system.start_programs().await;
        started.with_context(|| system.folder.log_ends())?;
        Ok(system)
    }

    async fn start_programs(&mut self) -> Result<()> {
        worker::migrate(&self.environment.database_url).await?;
        let variables = self.variables()?;
        let mut command = program("wxpay-worker")?;
        command.arg("run");
        let mut worker = Program::start("worker", command, &variables, self.folder.path())?;
        let ops = variables.iter().find(|(name, _)| *name == "WXPAY_OPS_ADDR");
        let ops: SocketAddr = ops.context("no address of the worker")?.1.parse()?;
        worker.wait_until(START_TIMEOUT, async || is_ready(ops).await).await?;
        self.worker = Some(worker);
        // The worker declares the exchanges that the ingress publishes to.
        let command = program("wxpay-ingress")?;
        let mut ingress = Program::start("ingress", command, &variables, self.folder.path())?;
        ingress.wait_until(START_TIMEOUT, async || is_ready(self.private).await).await?;
        self.ingress = Some(ingress);
        Ok(())
    }

    fn variables(&self) -> Result<Vec<(&'static str, String)>> {
        let mut amqp = self.environment.amqp_text.clone();
        if let Some(frames) = &self.frames {
            amqp = with_address(amqp.parse()?, frames.address).to_string();
        }
        let gateway = self.simulator.url();
        let mut variables = vec![
            ("WXPAY_DATABASE_URL", self.environment.database_url.expose().to_owned()),
            ("WXPAY_AMQP_URL", amqp),
            ("WXPAY_NAMESPACE", self.environment.namespace.to_string()),
            (
                "WXPAY_MERCHANTS_FILE",
                self.folder.path().join("merchants.toml").display().to_string(),
            ),
            ("WXPAY_GATEWAY_URL", gateway),
            ("WXPAY_PUBLIC_ADDR", self.public.to_string()),
            ("WXPAY_PRIVATE_ADDR", self.private.to_string()),
            ("WXPAY_PUBLIC_RATE", PUBLIC_RATE.to_string()),
            ("WXPAY_OPS_ADDR", free_address().to_string()),
        ];
        // What production logs is measured, too, unless the caller says otherwise.
        if let Ok(filter) = std::env::var("WXPAY_LOG") {
            variables.push(("WXPAY_LOG", filter));
        }
        Ok(variables)
    }

    /// Measures the worker, the ingress and the servers.
    pub(crate) fn meter(&self) -> Meter {
        Meter::of([&self.worker, &self.ingress].into_iter().flatten(), &self.environment.pool)
    }

    pub(crate) fn worker(&self) -> Option<&Program> {
        self.worker.as_ref()
    }

    pub(crate) fn ingress(&self) -> Option<&Program> {
        self.ingress.as_ref()
    }

    pub(crate) async fn stop_worker(&mut self) -> Result<()> {
        match self.worker.take() {
            Some(worker) => worker.stop().await,
            None => Ok(()),
        }
    }

    /// Fails if a program has exited, with the ends of the logs.
    pub(crate) fn check(&mut self) -> Result<()> {
        for program in [&mut self.worker, &mut self.ingress].into_iter().flatten() {
            program.check().with_context(|| self.folder.log_ends())?;
        }
        Ok(())
    }

    /// The order as this merchant's shop posts it.
    pub(crate) fn order(&self, merchant: usize, out_trade_no: &str) -> String {
        let merchant = &self.merchants[merchant % self.merchants.len()];
        Shop::of(merchant).order(out_trade_no, 9900).to_string()
    }

    /// How many orders are in this state.
    pub(crate) async fn count(&self, state: &str) -> Result<i64> {
        let count = sqlx::query_scalar("select count(*) from orders where state = $1").bind(state);
        Ok(count.fetch_one(&self.environment.pool).await?)
    }

    /// Kills the programs, and removes the database, the queues and the files.
    pub(crate) async fn remove(mut self) -> Result<()> {
        self.check()?;
        // What they still do is of no interest.
        self.worker = None;
        self.ingress = None;
        self.shop.remove().await?;
        self.environment.remove().await;
        Ok(())
    }
}

/// A gateway that takes `delay` for each call.
pub(crate) async fn start_simulator(
    mut config: simulator::Config,
    delay: Duration,
) -> Result<Handle> {
    config.orders_max = SIMULATOR_ORDERS_MAX;
    let listener = listener::bind("127.0.0.1:0".parse()?)?;
    let simulator = Simulator::start(config, listener)?;
    if !delay.is_zero() {
        let delay_ms = u64::try_from(delay.as_millis())?;
        let late = || vec![PlannedFault::new(Fault::DelayMs(delay_ms), u32::MAX)];
        let plan = FaultPlan {
            unifiedorder: late(),
            orderquery: late(),
            closeorder: late(),
            ..FaultPlan::default()
        };
        simulator.set_faults(plan).map_err(|error| anyhow::anyhow!("{error}"))?;
    }
    Ok(simulator)
}

fn write_merchants(
    folder: &RunFolder,
    merchants: &[TestMerchant],
    public: SocketAddr,
    rate: u32,
) -> Result<()> {
    let mut text = String::new();
    for TestMerchant { mch_id, appid, key, sign_type, .. } in merchants {
        fs::write(folder.path().join(format!("{mch_id}.key")), key)?;
        let sign_type = sign_type.as_str();
        writeln!(
            text,
            "[[merchant]]\nmch_id = \"{mch_id}\"\nappids = [\"{appid}\"]\n\
             sign_type = \"{sign_type}\"\nnotify_base_url = \"http://{public}\"\n\
             api_key_file = \"{mch_id}.key\"\nrequests_per_second = {rate}"
        )?;
    }
    Ok(fs::write(folder.path().join("merchants.toml"), text)?)
}

/// A program that cargo has built beside this one.
fn program(name: &str) -> Result<std::process::Command> {
    let path = std::env::current_exe()?.with_file_name(name);
    ensure!(path.is_file(), "{} is missing: run `make bench`", path.display());
    Ok(command_tied_to_thread(path))
}

async fn is_ready(address: SocketAddr) -> bool {
    HttpConnection::to(address).send(&get("/readyz")).await.is_ok_and(|status| status == 200)
}
