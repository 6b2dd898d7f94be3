//! A process of ours, which comes back when it has ended.

use std::fs::{File, OpenOptions};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tokio::time::sleep;

/// More than a worker takes to drain.
const ENDS_WITHIN: Duration = Duration::from_secs(40);
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// One of the programs with its settings.
pub(crate) struct Process {
    pub(crate) name: String,
    program: PathBuf,
    variables: Vec<(&'static str, String)>,
    log: PathBuf,
    child: Mutex<Option<Child>>,
}

impl Process {
    pub(crate) fn new(
        name: String,
        program: &str,
        log: PathBuf,
        variables: Vec<(&'static str, String)>,
    ) -> Self {
        let beside = std::env::current_exe().unwrap();
        let program = beside.parent().unwrap().join(program);
        assert!(program.is_file(), "{} is not there: run `make faults`", program.display());
        Self { name, program, variables, log, child: Mutex::new(None) }
    }

    /// Starts it, with failpoints in the words of the crate `fail`.
    pub(crate) fn start(&self, failpoints: &str) {
        let mut command = Command::new(&self.program);
        let ours = std::env::vars_os().map(|(name, _)| name);
        for name in ours.filter(|name| name.to_string_lossy().starts_with("WXPAY_")) {
            command.env_remove(name);
        }
        if self.program.ends_with("wxpay-worker") {
            command.arg("run");
        }
        let log: File = OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        let variables = self.variables.iter().map(|(name, value)| (name, value));
        command.envs(variables).env("FAILPOINTS", failpoints);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        *self.child.lock().unwrap() = Some(command.spawn().unwrap());
    }

    /// Starts it again if it has ended.
    pub(crate) fn restart_if_ended(&self, failpoints: &str) {
        if self.has_ended() {
            self.start(failpoints);
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        let mut child = self.child.lock().unwrap();
        child.as_mut().is_none_or(|child| child.try_wait().unwrap().is_some())
    }

    /// Sends it a signal, if it lives.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.lock().unwrap().as_ref().map(Child::id);
        if let Some(id) = id.filter(|_| !self.has_ended()) {
            let sent = Command::new("kill").args([format!("-{name}"), id.to_string()]).output();
            sent.unwrap();
        }
    }

    /// Waits for its end. `false`: it had all the time it may take, and is killed.
    pub(crate) async fn ends(&self) -> bool {
        let deadline = Instant::now() + ENDS_WITHIN;
        while !self.has_ended() {
            if Instant::now() > deadline {
                self.signal("KILL");
                return false;
            }
            sleep(BETWEEN_LOOKS).await;
        }
        true
    }

    /// Everything that it has logged.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(child) = self.child.get_mut().unwrap() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
