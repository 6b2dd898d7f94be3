//! The program itself, as a process of its own.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread::{self, JoinHandle},
};

use serde_json::Value;

use crate::http::DEADLINE;

/// Without a single setting.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wxpay-ingress"));
    command.env_clear().stderr(Stdio::piped()).stdout(Stdio::piped());
    command
}

/// Running, on ports of its own.
pub(crate) struct Running {
    pub(crate) public: SocketAddr,
    pub(crate) private: SocketAddr,
    child: Child,
    log: JoinHandle<Vec<String>>,
}

impl Running {
    pub(crate) fn start(settings: &[(&str, &str)]) -> Self {
        let mut command = program();
        command.env("WXPAY_PUBLIC_ADDR", "127.0.0.1:0").env("WXPAY_PRIVATE_ADDR", "127.0.0.1:0");
        let mut child = command.envs(settings.iter().copied()).spawn().expect("starts");
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let (sender, listening) = mpsc::channel();
        let log = thread::spawn(move || {
            let lines = stderr.lines().map(|line| line.expect("UTF-8"));
            let told = lines.inspect(|line| {
                if line.contains("\"listening\"") {
                    let _ = sender.send(line.clone());
                }
            });
            told.collect()
        });
        let listening = listening.recv_timeout(DEADLINE).expect("says in time that it listens");
        let listening: Value = serde_json::from_str(&listening).expect("JSON");
        let address = |name: &str| {
            let address = listening[name].as_str().and_then(|address| address.parse().ok());
            address.expect("an address")
        };
        Self { public: address("public"), private: address("private"), child, log }
    }

    /// Sends SIGHUP.
    pub(crate) fn hang_up(&self) {
        self.signal("-HUP");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().expect("kill runs");
        assert!(sent.success());
    }

    /// Sends SIGTERM and returns how it ended, with everything it has logged.
    pub(crate) fn terminate(mut self) -> (ExitStatus, Vec<String>) {
        self.signal("-TERM");
        let status = self.child.wait().expect("ends");
        (status, self.log.join().expect("no panic"))
    }
}
