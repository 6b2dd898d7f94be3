use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// How much of each log is shown when a run fails.
const LOG_LINES: usize = 20;

/// A folder in `target` for the files of one run. Dropping it deletes it.
pub struct RunFolder {
    path: PathBuf,
    keep: bool,
}

impl RunFolder {
    pub fn create(name: &str) -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("no parent folder")?;
        let random: String = std::iter::repeat_with(fastrand::alphanumeric).take(6).collect();
        let path = root.join("target").join(format!("{name}.{random}"));
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700).create(&path)?;
        Ok(Self { path, keep: false })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps the logs for the analysis of a failure, and removes the keys.
    pub fn keep_logs(&mut self) {
        self.keep = true;
        let _ = fs::remove_file(self.path.join("api.key"));
        let _ = fs::remove_file(self.path.join("env"));
    }

    /// The logs in the folder, by name.
    pub fn logs(&self) -> Vec<(String, String)> {
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        let paths = entries.map(|entry| entry.path());
        let paths = paths.filter(|path| path.extension().is_some_and(|kind| kind == "log"));
        let log = |path: PathBuf| {
            let name = path.file_name()?.to_string_lossy().into_owned();
            let text = fs::read(&path).ok()?;
            Some((name, String::from_utf8_lossy(&text).into_owned()))
        };
        let mut logs: Vec<_> = paths.filter_map(log).collect();
        logs.sort();
        logs
    }

    /// The last lines of each log that is not empty.
    pub fn log_ends(&self) -> String {
        let mut text = String::new();
        for (name, log) in self.logs().into_iter().filter(|(_, log)| !log.is_empty()) {
            let lines: Vec<&str> = log.lines().collect();
            let end = &lines[lines.len().saturating_sub(LOG_LINES)..];
            text += &format!("--- the end of {name}:\n{}\n", end.join("\n"));
        }
        text
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        if !self.keep {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}
