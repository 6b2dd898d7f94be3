//! The programs as operators run them: the verbs of the worker, and both as processes of their own.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;

use serde_json::Value;
use uuid::Uuid;

use crate::{World, eventually};

/// The program with the settings of one world.
pub struct Program {
    folder: PathBuf,
    variables: Vec<(&'static str, String)>,
}

/// What a verb said.
#[derive(Clone, Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// A worker or an ingress in a process of its own.
pub struct Running {
    pub address: SocketAddr,
    child: Mutex<Child>,
    log: PathBuf,
}

/// A program that cargo has built beside this test.
fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().and_then(Path::parent).unwrap();
    let binary = folder.join(name);
    assert!(
        binary.is_file(),
        "{} is not there: run the tests with `make test`, which builds it",
        binary.display()
    );
    binary
}

fn free_address() -> SocketAddr {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    free.local_addr().unwrap()
}

impl Program {
    /// With the keys that the merchants of the world have at WeChat, whatever its workers hold.
    pub fn of(world: &World) -> Self {
        let folder = std::env::temp_dir().join(format!("wxpay-{}", Uuid::new_v4().simple()));
        fs::create_dir_all(&folder).unwrap();
        let mut merchants = String::new();
        for merchant in &world.merchants {
            let (mch_id, appid) = (&merchant.mch_id, &merchant.appid);
            let (sign_type, public) = (merchant.sign_type.as_str(), world.public);
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

    /// Gives the programs that are started from now on one more setting, or another value of it.
    pub fn set(&mut self, variable: &'static str, value: impl Into<String>) {
        self.variables.retain(|(name, _)| *name != variable);
        self.variables.push((variable, value.into()));
    }

    /// Writes a file beside the settings, and returns its path.
    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.folder.join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary(program));
        let ours = std::env::vars_os().map(|(name, _)| name);
        for name in ours.filter(|name| name.to_string_lossy().starts_with("WXPAY_")) {
            command.env_remove(name);
        }
        let variables = self.variables.iter().map(|(name, value)| (name, value));
        command.args(arguments).envs(variables).stdin(Stdio::null());
        command
    }

    /// Runs a verb to its end. Whatever it says holds no secret of the world.
    pub async fn run(&self, world: &World, arguments: &[&str]) -> Said {
        let mut command = self.command("wxpay-worker", arguments);
        // Its end is waited for elsewhere: the world lives on this thread.
        let output = tokio::task::spawn_blocking(move || command.output());
        let output = output.await.unwrap().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let code = output.status.code().expect("an end of its own");
        let said = Said { code, out: text(output.stdout), err: text(output.stderr) };
        for secret in world.secrets().await {
            let holds = said.out.contains(&secret) || said.err.contains(&secret);
            assert!(!holds, "{arguments:?} says the secret {secret}: {said:?}");
        }
        said
    }

    /// Runs a verb that does what it is asked, and returns what it prints.
    pub async fn does(&self, world: &World, arguments: &[&str]) -> String {
        let said = self.run(world, arguments).await;
        assert_eq!(said.code, 0, "{arguments:?}: {said:?}");
        said.out
    }

    /// The same for a verb that prints JSON.
    pub async fn tells(&self, world: &World, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.does(world, arguments).await).unwrap()
    }

    /// Runs a verb that is not done or finds nothing, and returns what it says.
    pub async fn declines(&self, world: &World, arguments: &[&str]) -> String {
        let said = self.run(world, arguments).await;
        assert_eq!(said.code, 1, "{arguments:?}: {said:?}");
        said.out + &said.err
    }

    /// Starts the worker and waits until it consumes.
    pub async fn start(&self, world: &World) -> Running {
        let worker = self.begin("");
        worker.is_ready(world).await;
        worker
    }

    /// Starts the worker with these failpoints, in the words of the crate `fail`.
    pub fn begin(&self, failpoints: &str) -> Running {
        let ops = free_address();
        let mut command = self.command("wxpay-worker", &["run"]);
        command.env("WXPAY_OPS_ADDR", ops.to_string()).env("FAILPOINTS", failpoints);
        self.spawn(command, ops)
    }

    /// Starts the ingress at the addresses of the world, whose own has to be stopped, and waits
    /// until it takes requests.
    pub async fn start_ingress(&self, world: &World) -> Running {
        let mut command = self.command("wxpay-ingress", &[]);
        command.env("WXPAY_PUBLIC_ADDR", world.public.to_string());
        command.env("WXPAY_PRIVATE_ADDR", world.private.to_string());
        let ingress = self.spawn(command, world.private);
        ingress.is_ready(world).await;
        ingress
    }

    fn spawn(&self, mut command: Command, address: SocketAddr) -> Running {
        let log = self.folder.join(format!("{}.log", address.port()));
        command.stdout(Stdio::null()).stderr(fs::File::create(&log).unwrap());
        let child = Mutex::new(command.spawn().unwrap());
        Running { address, child, log }
    }

    /// The file with the key of a merchant.
    pub fn key_file(&self, mch_id: &str) -> PathBuf {
        self.folder.join(format!("{mch_id}.key"))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Running {
    async fn is_ready(&self, world: &World) {
        eventually("the program to be ready", async || {
            let ended = self.ended();
            assert!(ended.is_none(), "it ended: {ended:?}: {}", self.log());
            let answer = world.http.get(format!("http://{}/readyz", self.address)).send();
            answer.await.ok()?.status().is_success().then_some(())
        })
        .await;
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn ended(&self) -> Option<ExitStatus> {
        self.child.lock().unwrap().try_wait().unwrap()
    }

    /// Waits until it has died by itself, of a signal.
    pub async fn dies(&self) {
        let ended = eventually("the worker's death", async || self.ended()).await;
        assert!(ended.signal().is_some(), "{ended}: {}", self.log());
    }

    /// Sends it a signal, such as `HUP`.
    pub fn signal(&self, name: &str) {
        let id = self.child.lock().unwrap().id();
        let sent = Command::new("kill").args([format!("-{name}"), id.to_string()]).status();
        assert!(sent.unwrap().success(), "{name} is not sent");
    }

    /// Stops it by SIGTERM, waits for its end, and returns all that it logged.
    pub async fn stop(self) -> String {
        self.signal("TERM");
        let ended = eventually("the program's end", async || self.ended()).await;
        assert!(ended.success(), "{ended}: {}", self.log());
        self.log()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap();
        let _ = child.kill();
        let _ = child.wait();
    }
}
