//! A program under test, as a process of its own.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use services::process::{ProcessId, Signal};
use tokio::time::{Instant, sleep};

const STOP_TIMEOUT: Duration = Duration::from_secs(15);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Dropping it kills the process.
pub(crate) struct Program {
    pub(crate) name: &'static str,
    child: Child,
}

impl Program {
    /// Starts a command without the caller's `WXPAY_` settings. Its output goes into a log beside
    /// the other files of the run.
    pub(crate) fn start(
        name: &'static str,
        mut command: Command,
        variables: &[(&'static str, String)],
        folder: &Path,
    ) -> Result<Self> {
        for (inherited, _) in std::env::vars_os() {
            if inherited.to_string_lossy().starts_with("WXPAY_") {
                command.env_remove(inherited);
            }
        }
        let log = File::create(folder.join(format!("{name}.log")))?;
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("cannot start the {name}"))?;
        Ok(Self { name, child })
    }

    pub(crate) fn process(&self) -> Option<ProcessId> {
        i32::try_from(self.child.id()).ok().and_then(ProcessId::of)
    }

    /// Fails if the program has exited.
    pub(crate) fn check(&mut self) -> Result<()> {
        let exited = self.child.try_wait()?;
        ensure!(exited.is_none(), "the {} has exited", self.name);
        Ok(())
    }

    /// Polls until `is_ready`, as long as the program runs.
    pub(crate) async fn wait_until(
        &mut self,
        limit: Duration,
        is_ready: impl AsyncFn() -> bool,
    ) -> Result<()> {
        let deadline = Instant::now() + limit;
        while !is_ready().await {
            self.check()?;
            ensure!(Instant::now() < deadline, "the {} is not ready after {limit:?}", self.name);
            sleep(POLL_INTERVAL).await;
        }
        Ok(())
    }

    /// Stops it as a service manager does, with SIGTERM.
    pub(crate) async fn stop(mut self) -> Result<()> {
        if let Some(process) = self.process() {
            process.signal(Signal::TERM);
        }
        let deadline = Instant::now() + STOP_TIMEOUT;
        while self.child.try_wait()?.is_none() {
            // Dropping it kills it.
            ensure!(Instant::now() < deadline, "the {} did not stop", self.name);
            sleep(POLL_INTERVAL).await;
        }
        Ok(())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
