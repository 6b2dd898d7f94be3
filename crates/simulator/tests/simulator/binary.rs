//! The executable: settings, log, signals.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};

use serde_json::{Value, json};

use crate::support::*;

struct Folder(PathBuf);

impl Folder {
    /// A folder with a merchants' file and a key beside it.
    fn new(name: &str, merchants: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("merchants.toml"), merchants).unwrap();
        std::fs::write(path.join("api.key"), format!("{KEY}\n")).unwrap();
        Self(path)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wxpay-simulator"));
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
fn a_bad_setting_exits_64_and_is_named() {
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
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{variable}={text}: {said}");
        assert!(said.contains(variable), "{variable}={text}: {said}");
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
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{merchants}: {said}");
        assert!(said.contains("WXPAY_MERCHANTS_FILE"), "{said}");
        assert!(!said.contains(KEY), "{said}");
    }
}

/// A running simulator, which does not outlive a failed test.
struct Process {
    child: Child,
    log: BufReader<ChildStderr>,
    addrs: Vec<String>,
}

impl Process {
    /// Reads log lines until both hosts listen.
    fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let addrs = Vec::new();
        let mut process = Self { child, log, addrs };
        while process.addrs.len() < 2 {
            let mut line = String::new();
            assert_ne!(process.log.read_line(&mut line).unwrap(), 0, "it ended");
            let line: Value = serde_json::from_str(&line).expect("a JSON line");
            if let Some(addr) = line["fields"]["addr"].as_str() {
                process.addrs.push(format!("http://{addr}"));
            }
        }
        process
    }

    /// Sends a signal and returns how it ended and the rest of its log.
    fn stop(mut self, signal: &str) -> (ExitStatus, String) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
        let mut said = String::new();
        self.log.read_to_string(&mut said).unwrap();
        (self.child.wait().unwrap(), said)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn serves_until_it_is_told_to_stop_and_logs_no_secret() {
    let folder = Folder::new("serves", MERCHANTS);
    for signal in ["-TERM", "-INT"] {
        let mut command = folder.command();
        command.env("WXPAY_SIM_BACKUP_ADDR", "127.0.0.1:0").env("WXPAY_LOG", "trace");
        let process = Process::start(command);
        let http = http();
        let sent = signed(with(order(NOWHERE), &[("sign_type", "HMAC-SHA256")]));
        let created = http.post(format!("{}/pay/unifiedorder", process.addrs[0])).body(xml(&sent));
        let created = created.send().await.unwrap().text().await.unwrap();
        assert!(created.contains("prepay_id"), "{created}");
        let paid = http.post(format!("{}/_sim/pay/{MCH_ID}/{NO}", process.addrs[1]));
        let paid = paid.body(json!({"hold": true}).to_string()).send().await.unwrap();
        let paid: Value = serde_json::from_str(&paid.text().await.unwrap()).unwrap();
        let body = paid["body"].as_str().unwrap();

        let stopped = tokio::task::spawn_blocking(move || process.stop(signal));
        let (status, said) = stopped.await.unwrap();
        assert_eq!(status.code(), Some(0), "{said}");
        assert!(said.contains(NO) && said.contains("stopping"), "{said}");
        let signs = [&created, body].map(|xml| xml.split("<sign><![CDATA[").nth(1).unwrap());
        let signs = signs.map(|rest| &rest[..64]);
        for secret in [KEY, OPENID, signs[0], signs[1], "CDATA", sent.get("sign").unwrap()] {
            assert!(!said.contains(secret), "the log holds a secret");
        }
    }
}
