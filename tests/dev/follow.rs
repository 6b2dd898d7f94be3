//! Prints what the programs log.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};

pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(200);

pub(crate) struct Follower {
    logs: Vec<Log>,
}

struct Log {
    name: &'static str,
    path: PathBuf,
    /// How many bytes are printed.
    printed: usize,
}

impl Follower {
    pub(crate) fn new(logs: Vec<(&'static str, PathBuf)>) -> Self {
        let logs = logs.into_iter().map(|(name, path)| Log { name, path, printed: 0 });
        Self { logs: logs.collect() }
    }

    pub(crate) fn print_new_lines(&mut self) {
        for log in &mut self.logs {
            let bytes = fs::read(&log.path).unwrap_or_default();
            let unread = bytes.get(log.printed..).unwrap_or_default();
            // The last line may be half written.
            let Some(end) = unread.iter().rposition(|byte| *byte == b'\n') else { continue };
            let text = String::from_utf8_lossy(&unread[..end]);
            for line in text.lines() {
                println!("{:<9} | {}", log.name, readable(line));
            }
            log.printed += end + 1;
        }
    }
}

/// Level, message and fields of a JSON line; other lines as they are.
fn readable(line: &str) -> String {
    let Ok(Value::Object(mut line)) = serde_json::from_str::<Value>(line) else {
        return line.to_owned();
    };
    let mut text = format!("{:<5} {}", take(&mut line, "level"), take(&mut line, "message"));
    for name in ["timestamp", "target", "span", "spans"] {
        line.remove(name);
    }
    for (name, value) in line {
        text += &format!(" {name}={}", plain(&value));
    }
    text
}

fn take(line: &mut Map<String, Value>, name: &str) -> String {
    line.remove(name).map(|value| plain(&value)).unwrap_or_default()
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
