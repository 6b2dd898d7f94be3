//! A worker or ingress process that the campaign signals and restarts.

use std::fs::{File, OpenOptions};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use services::process::command_tied_to_thread;
use tokio::time::sleep;

/// Longer than a worker takes to drain.
const EXIT_TIMEOUT: Duration = Duration::from_secs(40);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

pub(crate) struct ServiceProcess {
    pub(crate) name: String,
    program: PathBuf,
    variables: Vec<(&'static str, String)>,
    log: PathBuf,
    child: Mutex<Option<Child>>,
}

impl ServiceProcess {
    pub(crate) fn new(
        name: String,
        program: &str,
        log: PathBuf,
        variables: Vec<(&'static str, String)>,
    ) -> Self {
        let campaign = std::env::current_exe().unwrap();
        let program = campaign.parent().unwrap().join(program);
        assert!(program.is_file(), "{} does not exist: run `make faults`", program.display());
        Self { name, program, variables, log, child: Mutex::new(None) }
    }

    /// Starts the process. `failpoints` has the syntax of the crate `fail`.
    pub(crate) fn start(&self, failpoints: &str) {
        let mut command = command_tied_to_thread(&self.program);
        let names = std::env::vars_os().map(|(name, _)| name);
        for name in names.filter(|name| name.to_string_lossy().starts_with("WXPAY_")) {
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

    pub(crate) fn restart_if_exited(&self, failpoints: &str) {
        if self.has_exited() {
            self.start(failpoints);
        }
    }

    pub(crate) fn has_exited(&self) -> bool {
        let mut child = self.child.lock().unwrap();
        child.as_mut().is_none_or(|child| child.try_wait().unwrap().is_some())
    }

    /// Sends a signal if the process runs.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.lock().unwrap().as_ref().map(Child::id);
        if let Some(id) = id.filter(|_| !self.has_exited()) {
            let sent = Command::new("kill").args([format!("-{name}"), id.to_string()]).output();
            sent.unwrap();
        }
    }

    /// Waits until the process exits. Kills it after the timeout and returns `false`.
    pub(crate) async fn exited(&self) -> bool {
        let deadline = Instant::now() + EXIT_TIMEOUT;
        while !self.has_exited() {
            if Instant::now() > deadline {
                self.signal("KILL");
                return false;
            }
            sleep(POLL_INTERVAL).await;
        }
        true
    }

    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}

impl Drop for ServiceProcess {
    fn drop(&mut self) {
        if let Some(child) = self.child.get_mut().unwrap() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
