//! The simulator, the worker and the ingress as processes on this machine, for `make demo` and
//! `make dev`.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use services::process::{ProcessId, Signal, command_tied_to_thread};
use tokio::time::{Instant, sleep};

pub const MCH_ID: &str = "1900000109";
pub const APPID: &str = "wx8888888888888888";

const START_TIMEOUT: Duration = Duration::from_secs(60);
/// For all programs together.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Where the programs listen.
pub struct Addresses {
    pub simulator: SocketAddr,
    pub public: SocketAddr,
    pub private: SocketAddr,
    pub ops: SocketAddr,
}

/// Dropping it kills the programs.
pub struct LocalSystem {
    pub addresses: Addresses,
    pub http: reqwest::Client,
    variables: Vec<(&'static str, String)>,
    folder: PathBuf,
    programs: Vec<Program>,
}

struct Program {
    name: &'static str,
    child: Child,
}

impl LocalSystem {
    /// Writes the files of one merchant into `folder`. `WXPAY_DATABASE_URL` and `WXPAY_AMQP_URL`
    /// name the servers; no other setting of the caller counts, except `WXPAY_LOG`.
    pub fn new(folder: &Path, addresses: Addresses, namespace: &str, key: &str) -> Result<Self> {
        let merchants_file = folder.join("merchants.toml");
        write_private(&folder.join("api.key"), key)?;
        let merchants = format!(
            "[[merchant]]\nmch_id = \"{MCH_ID}\"\nappids = [\"{APPID}\"]\nsign_type = \"MD5\"\n\
             notify_base_url = \"http://{}\"\napi_key_file = \"api.key\"\n",
            addresses.public
        );
        fs::write(&merchants_file, merchants)?;
        let gateway = format!("http://{}", addresses.simulator);
        let mut variables = vec![
            ("WXPAY_DATABASE_URL", server_url("WXPAY_DATABASE_URL")?),
            ("WXPAY_AMQP_URL", server_url("WXPAY_AMQP_URL")?),
            ("WXPAY_NAMESPACE", namespace.to_owned()),
            ("WXPAY_MERCHANTS_FILE", merchants_file.display().to_string()),
            ("WXPAY_GATEWAY_URL", gateway.clone()),
            ("WXPAY_GATEWAY_BACKUP_URL", gateway),
            ("WXPAY_SIM_ADDR", addresses.simulator.to_string()),
            ("WXPAY_PUBLIC_ADDR", addresses.public.to_string()),
            ("WXPAY_PRIVATE_ADDR", addresses.private.to_string()),
            ("WXPAY_OPS_ADDR", addresses.ops.to_string()),
        ];
        if let Ok(filter) = std::env::var("WXPAY_LOG") {
            variables.push(("WXPAY_LOG", filter));
        }
        // The worker's client of WeChat Pay needs it, and so does this one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().timeout(REQUEST_TIMEOUT).build()?;
        let folder = folder.to_owned();
        Ok(Self { addresses, http, variables, folder, programs: Vec::new() })
    }

    /// Migrates the database, starts the programs and waits until they are ready.
    pub async fn start(&mut self) -> Result<()> {
        let mut migrate = self.command("wxpay-worker", &["migrate"])?;
        let log = File::create(self.log("migrate"))?;
        migrate.stdout(log.try_clone()?).stderr(log);
        ensure!(migrate.status()?.success(), "the migration failed");

        self.spawn("simulator", "wxpay-simulator", &[])?;
        self.spawn("worker", "wxpay-worker", &["run"])?;
        let simulator = format!("http://{}/_sim/", self.addresses.simulator);
        let worker = format!("http://{}/readyz", self.addresses.ops);
        let ingress = format!("http://{}/readyz", self.addresses.private);
        self.wait_until_ok("the simulator answers", &simulator).await?;
        self.wait_until_ok("the worker is ready", &worker).await?;
        // The worker declares the exchanges that the ingress publishes to.
        self.spawn("ingress", "wxpay-ingress", &[])?;
        self.wait_until_ok("the ingress is ready", &ingress).await
    }

    /// A program with the settings of this system. Ctrl-C does not reach it, so that
    /// [`LocalSystem::stop`] decides when it ends.
    pub fn command(&self, program: &str, arguments: &[&str]) -> Result<Command> {
        let beside = std::env::current_exe()?;
        let path = beside.with_file_name(program);
        ensure!(path.is_file(), "{} is missing: run `make demo` or `make dev`", path.display());
        let mut command = command_tied_to_thread(path);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("WXPAY_") {
                command.env_remove(name);
            }
        }
        command.args(arguments).envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.env("NO_PROXY", "127.0.0.1").env("no_proxy", "127.0.0.1");
        command.stdin(Stdio::null()).process_group(0);
        Ok(command)
    }

    pub fn log(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }

    /// The names of the running programs.
    pub fn programs(&self) -> Vec<&'static str> {
        self.programs.iter().map(|program| program.name).collect()
    }

    /// Fails if a program has exited.
    pub fn check_programs(&mut self) -> Result<()> {
        for program in &mut self.programs {
            if let Some(status) = program.child.try_wait()? {
                bail!("the {} has exited: {status}", program.name);
            }
        }
        Ok(())
    }

    /// Polls until `condition` holds, as long as all programs run.
    pub async fn wait_until(
        &mut self,
        what: &str,
        limit: Duration,
        mut condition: impl AsyncFnMut(&Self) -> bool,
    ) -> Result<()> {
        let deadline = Instant::now() + limit;
        while !condition(self).await {
            self.check_programs().with_context(|| format!("waiting until {what}"))?;
            ensure!(Instant::now() < deadline, "waited {limit:?} in vain until {what}");
            sleep(POLL_INTERVAL).await;
        }
        Ok(())
    }

    /// The same settings for a shell, for the commands of the worker.
    pub fn write_env(&self, path: &Path) -> Result<()> {
        let line = |(name, value): &(&str, String)| format!("export {name}='{value}'\n");
        write_private(path, &self.variables.iter().map(line).collect::<String>())
    }

    /// Sends SIGTERM to all programs at once. Those that have not exited in time are killed, and
    /// named in the error.
    pub async fn stop(&mut self) -> Result<()> {
        for program in &self.programs {
            let process = i32::try_from(program.child.id()).ok().and_then(ProcessId::of);
            if let Some(process) = process {
                process.signal(Signal::TERM);
            }
        }
        let deadline = Instant::now() + STOP_TIMEOUT;
        let mut late = Vec::new();
        for mut program in std::mem::take(&mut self.programs) {
            while program.child.try_wait()?.is_none() {
                if Instant::now() >= deadline {
                    late.push(program.name);
                    program.kill();
                    break;
                }
                sleep(POLL_INTERVAL).await;
            }
        }
        ensure!(late.is_empty(), "did not stop within {STOP_TIMEOUT:?}: {}", late.join(", "));
        Ok(())
    }

    fn spawn(&mut self, name: &'static str, program: &str, arguments: &[&str]) -> Result<()> {
        let mut command = self.command(program, arguments)?;
        let log = File::create(self.log(name))?;
        let child = command.stdout(log.try_clone()?).stderr(log).spawn()?;
        self.programs.push(Program { name, child });
        Ok(())
    }

    async fn wait_until_ok(&mut self, what: &str, url: &str) -> Result<()> {
        let is_ok = async |system: &Self| {
            let answer = system.http.get(url).send().await;
            answer.is_ok_and(|answer| answer.status().is_success())
        };
        self.wait_until(what, START_TIMEOUT, is_ok).await
    }
}

impl Program {
    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

fn server_url(variable: &str) -> Result<String> {
    std::env::var(variable)
        .with_context(|| format!("{variable} is not set: run `make demo` or `make dev`"))
}

fn write_private(path: &Path, text: &str) -> Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    Ok(())
}
