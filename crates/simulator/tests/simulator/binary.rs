//! The executable: settings, log, signals.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};

use serde_json::{Value, json};

use crate::support::*;

struct Folder(PathBuf);

impl Folder {
    /// A folder with a merchants file and a key beside it.
    fn new(name: &str, merchants: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("merchants.toml"), merchants).unwrap();
        std::fs::write(path.join("api.key"), format!("{KEY}\n")).unwrap();
        Self(path)
    }

    /// The kernel kills the process when the thread of the test ends, so that nothing is left behind
    /// even if the test process itself is killed.
    fn command(&self) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", env!("CARGO_BIN_EXE_wxpay-simulator")]);
        command.env_clear().stdout(Stdio::null()).stderr(Stdio::piped());
        command.env("WXPAY_SIM_ADDR", "127.0.0.1:0");
        command.env("WXPAY_MERCHANTS_FILE", self.0.join("merchants.toml"));
        command
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const MERCHANTS: &str = r#"
[[merchant]]
mch_id = "1699000001"
appids = ["wx5f0c2e7a91d34b68"]
sign_type = "HMAC-SHA256"
notify_base_url = "http://127.0.0.1:9"
api_key_file = "api.key"
previous_api_key_file = "gone.key"
"#;

#[test]
fn bad_setting_exits_64_and_names_the_variable() {
    let good = Folder::new("good", MERCHANTS);
    for (variable, text) in [
        ("WXPAY_SIM_ADDR", "localhost"),
        ("WXPAY_SIM_BACKUP_ADDR", "127.0.0.1"),
        ("WXPAY_SIM_TIME_SCALE", "0"),
        ("WXPAY_SIM_TIME_SCALE", "fast"),
        ("WXPAY_MERCHANTS_FILE", "/nonexistent/merchants.toml"),
        ("WXPAY_LOG", "simulator=loud"),
    ] {
        let output = good.command().env(variable, text).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{variable}={text}: {error}");
        assert!(error.contains(variable), "{variable}={text}: {error}");
    }
    let swap = |from: &str, to: &str| MERCHANTS.replace(from, to);
    for (n, merchants) in [
        String::new(),
        swap("api_key_file = \"api.key\"", &format!("api_key = \"{KEY}\"")),
        swap("api_key_file = \"api.key\"", "api_key_env = \"NOT_SET\""),
        swap("api_key_file = \"api.key\"", "api_key_file = \"gone.key\""),
        swap("api_key_file = \"api.key\"", "api_key_file = \"merchants.toml\""),
        swap("HMAC-SHA256", "SHA1"),
        swap("\"1699000001\"", KEY),
        MERCHANTS.repeat(2),
    ]
    .into_iter()
    .enumerate()
    {
        let folder = Folder::new(&format!("bad_{n}"), &merchants);
        let output = folder.command().output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{merchants}: {error}");
        assert!(error.contains("WXPAY_MERCHANTS_FILE"), "{error}");
        assert!(!error.contains(KEY), "{error}");
    }
}

struct Process {
    child: KilledOnDrop,
    addrs: Vec<String>,
    log: JoinHandle<String>,
}

struct KilledOnDrop(Child);

impl Process {
    /// Waits until the log says that both hosts listen.
    fn start(mut command: Command) -> Self {
        let mut child = KilledOnDrop(command.spawn().unwrap());
        let stderr = child.0.stderr.take().unwrap();
        let (sender, addrs) = mpsc::channel();
        let log = thread::spawn(move || read_log(stderr, &sender));
        let mut process = Self { child, addrs: Vec::new(), log };
        while process.addrs.len() < 2 {
            process.addrs.push(addrs.recv_timeout(DEADLINE).expect("a host listens in time"));
        }
        process
    }

    /// Sends a signal and returns the exit status and the whole log.
    async fn stop(mut self, signal: &str) -> (ExitStatus, String) {
        let id = self.child.0.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
        let mut status = None;
        until("the simulator has ended", || {
            status = self.child.0.try_wait().unwrap();
            status.is_some()
        })
        .await;
        (status.unwrap(), self.log.join().unwrap())
    }
}

impl Drop for KilledOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sends the URL of each host that listens, and returns all lines.
fn read_log(stderr: ChildStderr, addrs: &Sender<String>) -> String {
    let mut log = String::new();
    for line in BufReader::new(stderr).lines() {
        let line = line.unwrap();
        let fields: Value = serde_json::from_str(&line).expect("a JSON line");
        if let Some(addr) = fields["addr"].as_str() {
            let _ = addrs.send(format!("http://{addr}"));
        }
        log.push_str(&line);
        log.push('\n');
    }
    log
}

#[tokio::test]
async fn signal_stops_the_simulator_and_no_secret_is_logged() {
    let folder = Folder::new("serves", MERCHANTS);
    for signal in ["-TERM", "-INT"] {
        let mut command = folder.command();
        command.env("WXPAY_SIM_BACKUP_ADDR", "127.0.0.1:0").env("WXPAY_LOG", "trace");
        let process = Process::start(command);
        let http = http();
        let sent = signed(with(order(NO_ENDPOINT), &[("sign_type", "HMAC-SHA256")]));
        let created = http.post(format!("{}/pay/unifiedorder", process.addrs[0])).body(xml(&sent));
        let created = created.send().await.unwrap().text().await.unwrap();
        assert!(created.contains("prepay_id"), "{created}");
        let paid = http.post(format!("{}/_sim/pay/{MCH_ID}/{ORDER_NO}", process.addrs[1]));
        let paid = paid.body(json!({"hold": true}).to_string()).send().await.unwrap();
        let paid: Value = serde_json::from_str(&paid.text().await.unwrap()).unwrap();
        let body = paid["body"].as_str().unwrap();

        let (status, log) = process.stop(signal).await;
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(log.contains(ORDER_NO) && log.contains("stopping"), "{log}");
        let signatures = [created.as_str(), body].map(signature);
        for secret in
            [KEY, OPENID, signatures[0], signatures[1], "CDATA", sent.get("sign").unwrap()]
        {
            assert!(!log.contains(secret), "the log holds a secret");
        }
    }
}

fn signature(xml: &str) -> &str {
    let (_, rest) = xml.split_once("<sign><![CDATA[").unwrap();
    &rest[..64]
}
