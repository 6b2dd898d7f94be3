//! Captures everything that the process logs, so that each test can search it for secrets.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use tracing::Level;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry;
use tracing_subscriber::util::SubscriberInitExt;

static CAPTURED: Mutex<Captured> = Mutex::new(Captured::new());

/// The lines since the oldest open watch. Older lines are dropped, so that a long run keeps no more
/// than its longest test.
struct Captured {
    lines: VecDeque<String>,
    /// How many lines were dropped.
    dropped: usize,
    /// The positions at which the open watches began.
    watches: Vec<usize>,
}

impl Captured {
    const fn new() -> Self {
        Self { lines: VecDeque::new(), dropped: 0, watches: Vec::new() }
    }

    fn end(&self) -> usize {
        self.dropped + self.lines.len()
    }

    fn drop_old_lines(&mut self) {
        let needed = self.watches.iter().copied().min().unwrap_or(self.end());
        self.lines.drain(..needed - self.dropped);
        self.dropped = needed;
    }
}

fn captured() -> MutexGuard<'static, Captured> {
    CAPTURED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Receives one line per write from the layer.
struct Line;

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut captured = captured();
        captured.lines.push_back(String::from_utf8_lossy(bytes).into_owned());
        if captured.watches.is_empty() {
            captured.drop_old_lines();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Line {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        Self
    }
}

/// Captures the lines down to this level. Only the first call counts.
pub fn capture_down_to(level: Level) {
    static STARTED: OnceLock<()> = OnceLock::new();
    STARTED.get_or_init(|| {
        let is_of_program = filter_fn(move |line| {
            let is_simulator = line.target().split("::").next() == Some("simulator");
            let is_harmless = service::log::is_harmless(line);
            (is_simulator || is_harmless) && *line.level() <= level
        });
        let lines = fmt::layer().json().with_writer(|| Line);
        registry().with(is_of_program).with(lines).init();
    });
}

/// The lines of the whole process since the watch began.
pub struct Watch(usize);

impl Watch {
    /// Starts to capture the lines that the worker and the ingress write at trace level, and every
    /// line of the simulator: its output ends in reports, too.
    pub fn start() -> Self {
        capture_down_to(Level::TRACE);
        let mut captured = captured();
        let begin = captured.end();
        captured.watches.push(begin);
        Self(begin)
    }

    pub fn lines(&self) -> Vec<String> {
        let captured = captured();
        captured.lines.range(self.0 - captured.dropped..).cloned().collect()
    }

    /// The lines that contain `what`, for the message of a failure.
    pub fn containing(&self, what: &str) -> String {
        let mut lines = self.lines();
        lines.retain(|line| line.contains(what));
        lines.concat()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut captured = captured();
        if let Some(own) = captured.watches.iter().position(|begin| *begin == self.0) {
            captured.watches.swap_remove(own);
        }
        captured.drop_old_lines();
    }
}
