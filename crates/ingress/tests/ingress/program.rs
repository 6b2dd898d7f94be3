//! The program itself, as a process of its own.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use serde_json::Value;

use crate::http::DEADLINE;
use crate::test_server::until;

/// The program without a single setting. The kernel kills it when the thread that started it ends,
/// so that nothing is left behind, not even by a test process that is killed itself.
pub(crate) fn program() -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", env!("CARGO_BIN_EXE_wxpay-ingress")]);
    command.env_clear().stdin(Stdio::null()).stderr(Stdio::piped()).stdout(Stdio::piped());
    command
}

/// The program in use, on free ports.
pub(crate) struct Running {
    pub(crate) public: SocketAddr,
    pub(crate) private: SocketAddr,
    process: KilledOnDrop,
    log: JoinHandle<Vec<String>>,
}

struct KilledOnDrop(Child);

impl Running {
    pub(crate) fn start(settings: &[(&str, &str)]) -> Self {
        let mut command = program();
        command.env("WXPAY_PUBLIC_ADDR", "127.0.0.1:0").env("WXPAY_PRIVATE_ADDR", "127.0.0.1:0");
        let child = command.envs(settings.iter().copied()).spawn().expect("starts");
        let mut process = KilledOnDrop(child);
        let (sender, listening) = mpsc::channel();
        let stderr = process.0.stderr.take().expect("piped");
        let log = thread::spawn(move || read_log(stderr, &sender));
        let listening = listening.recv_timeout(DEADLINE).expect("logs in time that it listens");
        let listening: Value = serde_json::from_str(&listening).expect("JSON");
        let address = |name: &str| {
            let address = listening[name].as_str().and_then(|address| address.parse().ok());
            address.expect("an address")
        };
        Self { public: address("public"), private: address("private"), process, log }
    }

    pub(crate) fn send_sighup(&self) {
        self.signal("-HUP");
    }

    fn signal(&self, signal: &str) {
        let pid = self.process.0.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().expect("kill runs");
        assert!(sent.success());
    }

    /// Sends SIGTERM and returns how the program ended, with everything it has logged.
    pub(crate) async fn terminate(mut self) -> (ExitStatus, Vec<String>) {
        self.signal("-TERM");
        let mut status = None;
        until("the program has ended", async || {
            status = self.process.0.try_wait().expect("can be waited for");
            status.is_some()
        })
        .await;
        (status.expect("it has ended"), self.log.join().expect("no panic"))
    }
}

impl Drop for KilledOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Collects the log, and passes on the line that names the addresses.
fn read_log(stderr: ChildStderr, listening: &mpsc::Sender<String>) -> Vec<String> {
    let mut log = Vec::new();
    for line in BufReader::new(stderr).lines() {
        let line = line.expect("UTF-8");
        if line.contains("\"listening\"") {
            let _ = listening.send(line.clone());
        }
        log.push(line);
    }
    log
}
