//! Runs a command beside servers that exist as long as it runs.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, WaitOptions, WaitStatus, getpid, set_child_subreaper, wait};

use crate::folder::new_folder;
use crate::interrupt::{self, Interrupted};
use crate::process::{ProcessId, Signal, descendants};
use crate::{Server, Services};

/// How long the command may take to end after a signal.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// How long what the command has started may outlive it.
const LEFTOVERS_TIMEOUT: Duration = Duration::from_secs(2);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Returns the exit code of the command, in the shell's way: 128 and the number of the signal that
/// ended it. Whatever happens, the servers, their data, the temporary files and the processes that
/// the command leaves behind are gone afterwards.
pub fn run(target: &Path, command: &[OsString]) -> Result<u8> {
    // Processes whose parents have ended become children of this one, so they can be found.
    set_child_subreaper(Some(getpid())).context("cannot collect orphans")?;
    fs::create_dir_all(target)?;
    let folder = new_folder(target, "services", 0o711)?;
    let services = Services::in_folder(&folder);
    let code = run_beside(&services, command);
    clean_up(&services);
    code
}

fn run_beside(services: &Services, command: &[OsString]) -> Result<u8> {
    services.mark()?;
    let is_missing = |server: &Server| {
        let url = std::env::var_os(server.variable());
        url.is_none_or(|url| url.is_empty())
    };
    let wanted: Vec<Server> = Server::ALL.into_iter().filter(is_missing).collect();
    if !wanted.is_empty() {
        services.up(&wanted)?;
    }
    let temporary = services.folder().join("tmp");
    fs::create_dir(&temporary)?;
    fs::set_permissions(&temporary, Permissions::from_mode(0o711))?;

    let (program, arguments) = command.split_first().context("there is no command")?;
    let mut command = Command::new(program);
    command.args(arguments).env("TMPDIR", &temporary);
    for server in wanted {
        command.env(server.variable(), services.url(server).context("a server has no address")?);
    }
    let child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("services: cannot run {}: {error}", program.display());
            return Ok(if error.kind() == ErrorKind::NotFound { 127 } else { 126 });
        }
    };
    let pid = Pid::from_raw(i32::try_from(child.id())?).context("a process without a number")?;
    loop {
        if let Some(code) = exit_code(pid) {
            return Ok(code);
        }
        if let Err(interrupted) = interrupt::pause(POLL_INTERVAL) {
            stop(pid, interrupted);
            return Err(interrupted.into());
        }
    }
}

/// Collects every child that has ended, and returns the exit code of the command if it is one.
fn exit_code(command: Pid) -> Option<u8> {
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if pid == command {
            return Some(shell_code(status));
        }
    }
    None
}

fn shell_code(status: WaitStatus) -> u8 {
    let signal = status.terminating_signal().map(|signal| 128 + signal);
    let code = status.exit_status().or(signal);
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

fn stop(command: Pid, interrupted: Interrupted) {
    // Ctrl-C has reached the command, too. It gets the time to end by itself.
    if interrupted.is_from_terminal() && ends(command) {
        return;
    }
    let Some(process) = ProcessId::of(command.as_raw_pid()) else { return };
    for signal in [Signal::TERM, Signal::KILL] {
        process.signal(signal);
        if ends(command) {
            return;
        }
    }
}

fn ends(command: Pid) -> bool {
    let deadline = Instant::now() + STOP_TIMEOUT;
    while exit_code(command).is_none() {
        if Instant::now() >= deadline {
            return false;
        }
        interrupt::sleep(POLL_INTERVAL);
    }
    true
}

fn clean_up(services: &Services) {
    let temporary = fs::read_dir(services.folder().join("tmp"));
    // Servers that a test has started for itself and could not stop.
    for entry in temporary.into_iter().flatten().flatten() {
        report(Services::in_folder(entry.path()).down());
    }
    kill_leftovers(services);
    report(services.down());
    if services.folder().exists() {
        report(fs::remove_dir_all(services.folder()).map_err(Into::into));
    }
}

/// Kills what the command has started and not ended, and names it.
fn kill_leftovers(services: &Services) {
    let deadline = Instant::now() + LEFTOVERS_TIMEOUT;
    let mut named = false;
    loop {
        let leftovers = leftovers(services);
        if leftovers.is_empty() || Instant::now() >= deadline + LEFTOVERS_TIMEOUT {
            return;
        }
        if Instant::now() >= deadline {
            if !named {
                let names: Vec<String> = leftovers.iter().map(|it| it.describe()).collect();
                eprintln!("services: killed what the command left behind: {}", names.join(", "));
                named = true;
            }
            leftovers.iter().for_each(|process| process.signal(Signal::KILL));
        }
        interrupt::sleep(POLL_INTERVAL);
    }
}

fn leftovers(services: &Services) -> Vec<ProcessId> {
    let servers: Vec<ProcessId> =
        services.processes().into_iter().flat_map(ProcessId::tree).collect();
    let mut leftovers = descendants(getpid().as_raw_pid());
    leftovers.retain(|process| !servers.contains(process));
    leftovers
}

fn report<T>(done: Result<T>) {
    if let Err(error) = done {
        eprintln!("services: {error:#}");
    }
}
