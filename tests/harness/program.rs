//! The worker and the ingress as processes, and the worker's commands as an operator runs them.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;

use serde_json::Value;
use services::ports::free_address;
use services::process::command_tied_to_thread;
use uuid::Uuid;

use crate::{World, eventually};

/// The programs, with the settings of one world.
pub struct Program {
    folder: PathBuf,
    variables: Vec<(&'static str, String)>,
}

#[derive(Clone, Debug)]
pub struct CommandOutput {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// A running worker or ingress. Dropping it kills the process.
pub struct ProgramProcess {
    pub address: SocketAddr,
    child: Mutex<Child>,
    log: PathBuf,
}

/// A program that cargo has built beside this test.
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().and_then(Path::parent).unwrap();
    let binary = folder.join(name);
    assert!(
        binary.is_file(),
        "{} is missing: run the tests with `make test`, which builds it",
        binary.display()
    );
    binary
}

impl Program {
    /// The settings name the keys that the simulator has, even when the world's own workers have
    /// others.
    pub fn of(world: &World) -> Self {
        let folder = std::env::temp_dir().join(format!("wxpay-{}", Uuid::new_v4().simple()));
        fs::create_dir_all(&folder).unwrap();
        let mut merchants = String::new();
        for merchant in &world.merchants {
            let mch_id = &merchant.mch_id;
            let appid = &merchant.appid;
            let sign_type = merchant.sign_type.as_str();
            let public = world.public;
            let key_file = folder.join(format!("{mch_id}.key"));
            fs::write(&key_file, &merchant.key).unwrap();
            fs::set_permissions(&key_file, fs::Permissions::from_mode(0o600)).unwrap();
            merchants += &format!(
                "[[merchant]]\nmch_id = \"{mch_id}\"\nappids = [\"{appid}\"]\n\
                 sign_type = \"{sign_type}\"\nnotify_base_url = \"http://{public}\"\n\
                 api_key_file = \"{mch_id}.key\"\n"
            );
        }
        let file = folder.join("merchants.toml");
        fs::write(&file, merchants).unwrap();
        let variables = vec![
            ("WXPAY_DATABASE_URL", world.environment.database_url.expose().to_owned()),
            ("WXPAY_AMQP_URL", world.environment.amqp_text.clone()),
            ("WXPAY_NAMESPACE", world.environment.namespace.to_string()),
            ("WXPAY_MERCHANTS_FILE", file.to_str().unwrap().to_owned()),
            ("WXPAY_GATEWAY_URL", world.simulator.url()),
            ("USER", "lin".to_owned()),
        ];
        Self { folder, variables }
    }

    /// Sets a variable for the programs that are started from now on.
    pub fn set(&mut self, variable: &'static str, value: impl Into<String>) {
        self.variables.retain(|(name, _)| *name != variable);
        self.variables.push((variable, value.into()));
    }

    /// Writes a file into the folder of the settings and returns its path.
    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.folder.join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = command_tied_to_thread(binary(program));
        let inherited = std::env::vars_os().map(|(name, _)| name);
        for name in inherited.filter(|name| name.to_string_lossy().starts_with("WXPAY_")) {
            command.env_remove(name);
        }
        let variables = self.variables.iter().map(|(name, value)| (name, value));
        command.args(arguments).envs(variables).stdin(Stdio::null());
        command
    }

    /// Runs a command of the worker, and checks that its output holds no secret of the world.
    pub async fn run(&self, world: &World, arguments: &[&str]) -> CommandOutput {
        let mut command = self.command("wxpay-worker", arguments);
        // On a thread of its own: the world runs on this one.
        let output = tokio::task::spawn_blocking(move || command.output());
        let output = output.await.unwrap().unwrap();
        let output = CommandOutput {
            code: output.status.code().expect("an exit code, not a signal"),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        };
        for secret in world.secrets().await {
            let found = output.stdout.contains(&secret) || output.stderr.contains(&secret);
            assert!(!found, "{arguments:?} prints the secret {secret}: {output:?}");
        }
        output
    }

    /// Runs a command that succeeds, and returns what it prints.
    pub async fn run_ok(&self, world: &World, arguments: &[&str]) -> String {
        let output = self.run(world, arguments).await;
        assert_eq!(output.code, 0, "{arguments:?}: {output:?}");
        output.stdout
    }

    pub async fn run_json(&self, world: &World, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.run_ok(world, arguments).await).unwrap()
    }

    /// Runs a command that exits with 1, and returns its output and its errors.
    pub async fn run_expecting_failure(&self, world: &World, arguments: &[&str]) -> String {
        let output = self.run(world, arguments).await;
        assert_eq!(output.code, 1, "{arguments:?}: {output:?}");
        output.stdout + &output.stderr
    }

    /// Starts the worker and waits until it consumes.
    pub async fn start_worker(&self, world: &World) -> ProgramProcess {
        let worker = self.spawn_worker("");
        worker.wait_until_ready(world).await;
        worker
    }

    /// Starts the worker with failpoints, in the syntax of the crate `fail`.
    pub fn spawn_worker(&self, failpoints: &str) -> ProgramProcess {
        let ops = free_address();
        let mut command = self.command("wxpay-worker", &["run"]);
        command.env("WXPAY_OPS_ADDR", ops.to_string()).env("FAILPOINTS", failpoints);
        self.spawn(command, ops)
    }

    /// Starts the ingress at the addresses of the world and waits until it is ready. The world's own
    /// ingress must be stopped.
    pub async fn start_ingress(&self, world: &World) -> ProgramProcess {
        let mut command = self.command("wxpay-ingress", &[]);
        command.env("WXPAY_PUBLIC_ADDR", world.public.to_string());
        command.env("WXPAY_PRIVATE_ADDR", world.private.to_string());
        let ingress = self.spawn(command, world.private);
        ingress.wait_until_ready(world).await;
        ingress
    }

    fn spawn(&self, mut command: Command, address: SocketAddr) -> ProgramProcess {
        let log = self.folder.join(format!("{}.log", address.port()));
        command.stdout(Stdio::null()).stderr(fs::File::create(&log).unwrap());
        let child = Mutex::new(command.spawn().unwrap());
        ProgramProcess { address, child, log }
    }

    pub fn key_file(&self, mch_id: &str) -> PathBuf {
        self.folder.join(format!("{mch_id}.key"))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl ProgramProcess {
    pub async fn wait_until_ready(&self, world: &World) {
        eventually("the program to be ready", async || {
            let status = self.exit_status();
            assert!(status.is_none(), "it exited: {status:?}: {}", self.log());
            let answer = world.http.get(format!("http://{}/readyz", self.address)).send();
            answer.await.ok()?.status().is_success().then_some(())
        })
        .await;
    }

    /// The present value of a metric, by its name with its labels.
    pub async fn metric(&self, world: &World, name: &str) -> Option<f64> {
        let url = format!("http://{}/metrics", self.address);
        let text = world.http.get(url).send().await.unwrap().text().await.unwrap();
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn exit_status(&self) -> Option<ExitStatus> {
        self.child.lock().unwrap().try_wait().unwrap()
    }

    pub async fn wait_for_exit_by_signal(&self) {
        let status = eventually("the worker's exit", async || self.exit_status()).await;
        assert!(status.signal().is_some(), "{status}: {}", self.log());
    }

    /// Sends a signal, such as `HUP`.
    pub fn signal(&self, name: &str) {
        let id = self.child.lock().unwrap().id();
        let sent = Command::new("kill").args([format!("-{name}"), id.to_string()]).status();
        assert!(sent.unwrap().success(), "SIG{name} was not sent");
    }

    /// Sends SIGTERM, waits for a clean exit, and returns the log.
    pub async fn stop(self) -> String {
        self.signal("TERM");
        let status = eventually("the program's exit", async || self.exit_status()).await;
        assert!(status.success(), "{status}: {}", self.log());
        self.log()
    }
}

impl Drop for ProgramProcess {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap();
        let _ = child.kill();
        let _ = child.wait();
    }
}
