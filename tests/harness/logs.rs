//! Everything that the process logs, as much as its programs could ever write, kept so that each
//! test can search it for secrets.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use tracing::Level;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry;
use tracing_subscriber::util::SubscriberInitExt;

static KEPT: Mutex<Kept> = Mutex::new(Kept::new());

/// What was logged since the oldest watch that is still open: nobody searches what came before, so
/// that a long run keeps no more than its longest test.
struct Kept {
    lines: VecDeque<String>,
    /// How many lines were let go.
    gone: usize,
    /// Where the open watches began.
    watches: Vec<usize>,
}

impl Kept {
    const fn new() -> Self {
        Self { lines: VecDeque::new(), gone: 0, watches: Vec::new() }
    }

    fn end(&self) -> usize {
        self.gone + self.lines.len()
    }

    fn let_go(&mut self) {
        let needed = self.watches.iter().copied().min().unwrap_or(self.end());
        self.lines.drain(..needed - self.gone);
        self.gone = needed;
    }
}

fn kept() -> MutexGuard<'static, Kept> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes one line at a time, as the layer writes them.
struct Line;

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut kept = kept();
        kept.lines.push_back(String::from_utf8_lossy(bytes).into_owned());
        if kept.watches.is_empty() {
            kept.let_go();
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

/// Has the lines down to this level kept, unless that has begun already.
pub fn capture_down_to(level: Level) {
    static STARTED: OnceLock<()> = OnceLock::new();
    STARTED.get_or_init(|| {
        let of_a_program = filter_fn(move |line| {
            let tool = line.target().split("::").next() == Some("simulator");
            let harmless = worker::log::is_harmless(line) || service::log::is_harmless(line);
            (tool || harmless) && *line.level() <= level
        });
        let lines = fmt::layer().json().with_writer(|| Line);
        registry().with(of_a_program).with(lines).init();
    });
}

/// The lines of the whole process from one moment on.
pub struct Watch(usize);

impl Watch {
    /// Starts to keep the lines that either program lets through when it is told to log
    /// everything, and every line of the simulator, which is held to the same although it is a
    /// tool: what it prints ends in reports, too.
    pub fn start() -> Self {
        capture_down_to(Level::TRACE);
        let mut kept = kept();
        let begin = kept.end();
        kept.watches.push(begin);
        Self(begin)
    }

    /// The lines so far.
    pub fn lines(&self) -> Vec<String> {
        let kept = kept();
        kept.lines.range(self.0 - kept.gone..).cloned().collect()
    }

    /// The lines about something, for the text of a failure.
    pub fn about(&self, what: &str) -> String {
        let mut lines = self.lines();
        lines.retain(|line| line.contains(what));
        lines.concat()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut kept = kept();
        if let Some(mine) = kept.watches.iter().position(|begin| *begin == self.0) {
            kept.watches.swap_remove(mine);
        }
        kept.let_go();
    }
}
