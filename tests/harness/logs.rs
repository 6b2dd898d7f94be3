//! Everything that the process logs, kept so that a test can search it for secrets.

use std::io::{self, Write};
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

static LINES: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Kept;

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LINES.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Kept {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        Self
    }
}

/// Starts to keep the logs of the whole process, down to `debug`.
pub fn keep() {
    keep_down_to("debug");
}

/// The same down to another level, when nobody has started before.
pub fn keep_down_to(level: &str) {
    static STARTED: OnceLock<()> = OnceLock::new();
    STARTED.get_or_init(|| {
        let quiet = "lapin=error,sqlx=warn,hyper=info,hyper_util=info";
        let filter = EnvFilter::new(format!("{level},{quiet}"));
        tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(Kept).init();
    });
}

/// The log lines that hold one of these texts.
pub fn holding(secrets: &[String]) -> Vec<String> {
    let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    let text = String::from_utf8_lossy(&lines);
    let guilty = text.lines().filter(|line| secrets.iter().any(|secret| line.contains(secret)));
    guilty.map(str::to_owned).collect()
}

/// The log lines about something, for the text of a failure.
pub fn about(what: &str) -> String {
    holding(&[what.to_owned()]).join("\n")
}
