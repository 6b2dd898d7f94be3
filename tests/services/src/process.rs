//! Processes, as `/proc` shows them.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::process::Command;
use std::str::FromStr;
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitOptions, kill_process, kill_process_group, waitpid};

pub use rustix::process::Signal;

use crate::interrupt;

/// A program that the kernel kills when the thread that starts it ends, even if that happens by
/// SIGKILL. So start it on a thread that lives as long as it is needed.
pub fn command_tied_to_thread(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// A process, named for good: pids are used again, pids with their start times are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessId {
    pid: i32,
    /// In clock ticks since boot.
    started: u64,
}

impl ProcessId {
    /// `None`: there is no such process, or it has ended.
    pub fn of(pid: i32) -> Option<Self> {
        let stat = Stat::read(pid)?;
        if stat.is_zombie {
            // Collects it if it is a child of this process, which keeps no handle of it.
            let _ = Pid::from_raw(pid).map(|pid| waitpid(Some(pid), WaitOptions::NOHANG));
            return None;
        }
        Some(Self { pid, started: stat.started })
    }

    pub fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// It and all that it has started, as far as they run.
    pub fn tree(self) -> Vec<Self> {
        let mut tree = vec![self];
        tree.extend(descendants(self.pid));
        tree
    }

    /// The CPU time that it and the children that it has waited for have used; zero if it has ended.
    pub fn cpu_time(self) -> Duration {
        let stat = Stat::read(self.pid).filter(|stat| stat.started == self.started);
        Duration::from_millis(stat.map_or(0, |stat| stat.cpu_ticks) * MILLIS_PER_TICK)
    }

    /// The memory that it holds; zero if it has ended.
    pub fn resident_bytes(self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
        kibibytes.map_or(0, |kibibytes: u64| kibibytes * 1024)
    }

    /// Sends a signal, unless the process has ended.
    pub fn signal(self, signal: Signal) {
        if self.is_alive()
            && let Some(pid) = Pid::from_raw(self.pid)
        {
            let _ = kill_process(pid, signal);
        }
    }

    /// The same for each process of the group that it leads.
    pub(crate) fn signal_group(self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.pid) {
            let _ = kill_process_group(pid, signal);
        }
    }

    /// `false`: the time was too short.
    pub fn wait_for_exit(self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while self.is_alive() {
            if Instant::now() >= deadline {
                return false;
            }
            interrupt::sleep(Duration::from_millis(50));
        }
        true
    }

    /// The pid and the name of the program.
    pub(crate) fn describe(self) -> String {
        let name = fs::read_to_string(format!("/proc/{}/comm", self.pid)).unwrap_or_default();
        format!("{} {}", self.pid, name.trim_end())
    }
}

/// As written into a file: pid and start time.
impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.pid, self.started)
    }
}

impl FromStr for ProcessId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (pid, started) = text.trim().split_once(' ').ok_or(())?;
        Ok(Self { pid: pid.parse().map_err(drop)?, started: started.parse().map_err(drop)? })
    }
}

/// All that a process has started, directly or not, and that runs.
pub fn descendants(pid: i32) -> Vec<ProcessId> {
    let pids = fs::read_dir("/proc").into_iter().flatten();
    let pids = pids.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let parents: Vec<(i32, i32)> =
        pids.filter_map(|pid| Some((pid, Stat::read(pid)?.parent))).collect();
    let mut found = Vec::new();
    let mut unvisited = vec![pid];
    while let Some(parent) = unvisited.pop() {
        for (pid, _) in parents.iter().filter(|(_, of)| *of == parent) {
            unvisited.push(*pid);
            found.extend(ProcessId::of(*pid));
        }
    }
    found
}

/// The unit of `/proc`, which is the same on all of Linux's architectures that this project runs on.
const MILLIS_PER_TICK: u64 = 10;

struct Stat {
    is_zombie: bool,
    parent: i32,
    cpu_ticks: u64,
    started: u64,
}

impl Stat {
    fn read(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name may hold spaces and brackets; the fields are those behind it.
        let (_, fields) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        Some(Self {
            is_zombie: *fields.first()? == "Z",
            parent: fields.get(1)?.parse().ok()?,
            cpu_ticks: cpu_ticks(&fields)?,
            started: fields.get(19)?.parse().ok()?,
        })
    }
}

/// User and system time, of the process and of its children.
fn cpu_ticks(fields: &[&str]) -> Option<u64> {
    fields.get(11..15)?.iter().map(|field| field.parse::<u64>().ok()).sum()
}
