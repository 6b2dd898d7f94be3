use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::containers;
use crate::process::{ProcessId, Signal};
use crate::server_user::ServerUser;

/// A folder with this file was made here, so it may be deleted.
const MARKER: &str = ".wxpay-services";
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// Everything that a pair of servers keeps: data, password, addresses, logs, and which processes
/// and containers they are.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    path: PathBuf,
}

impl Folder {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn is_marked(&self) -> bool {
        self.path.join(MARKER).is_file()
    }

    /// Creates the folder if it is missing, and marks it. One with other contents is refused.
    pub(crate) fn mark(&self) -> Result<()> {
        let path = self.path.display();
        fs::create_dir_all(&self.path).with_context(|| format!("cannot create {path}"))?;
        if self.is_marked() {
            return Ok(());
        }
        if fs::read_dir(&self.path)?.next().is_some() {
            bail!("{path} holds something else");
        }
        fs::write(self.path.join(MARKER), "")?;
        Ok(())
    }

    /// Creates the data folder of the servers. `false`: it was there.
    pub(crate) fn make_data(&self, user: ServerUser) -> Result<bool> {
        let data = self.path.join("data");
        if data.is_dir() {
            return Ok(false);
        }
        // A link to a folder that was deleted.
        let _ = fs::remove_file(&data);
        let reachable = user.command("test").arg("-x").arg(&self.path).status();
        if reachable.is_ok_and(|status| status.success()) {
            fs::create_dir(&data)?;
        } else {
            // The servers' user cannot enter the repository, as in a clone below /root.
            symlink(new_folder(Path::new("/var/tmp"), "wxpay-services", 0o700)?, &data)?;
        }
        fs::set_permissions(&data, Permissions::from_mode(0o700))?;
        user.own(&fs::canonicalize(&data)?)?;
        Ok(true)
    }

    pub(crate) fn delete(&self) -> Result<()> {
        if !self.is_marked() {
            return Ok(());
        }
        if let Ok(elsewhere) = fs::read_link(self.path.join("data")) {
            remove(&elsewhere)?;
        }
        remove(&self.path)
    }

    /// Writes the URL of a server into the file `env`, which shells can source. Who reads it at the
    /// same time reads it whole.
    pub(crate) fn publish(&self, variable: &str, url: &str) -> Result<()> {
        let path = self.path.join("env");
        let old = fs::read_to_string(&path).unwrap_or_default();
        let prefix = format!("export {variable}=");
        let other = old.lines().filter(|line| !line.starts_with(&prefix));
        let mut lines: Vec<String> = other.map(str::to_owned).collect();
        lines.push(format!("{prefix}'{url}'"));
        let new = self.path.join("env.new");
        write_private(&new, &(lines.join("\n") + "\n"))?;
        fs::rename(&new, &path).with_context(|| format!("cannot write {}", path.display()))
    }

    pub(crate) fn published(&self, variable: &str) -> Option<String> {
        let lines = fs::read_to_string(self.path.join("env")).ok()?;
        let prefix = format!("export {variable}='");
        let url = lines.lines().find_map(|line| line.strip_prefix(&prefix)?.strip_suffix('\''));
        url.map(str::to_owned)
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}.log"))
    }

    pub(crate) fn process_file(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}.process"))
    }

    pub(crate) fn container_file(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}.container"))
    }

    /// The recorded process, whether it runs or not.
    pub(crate) fn process(&self, name: &str) -> Option<ProcessId> {
        fs::read_to_string(self.process_file(name)).ok()?.parse().ok()
    }

    pub(crate) fn container(&self, name: &str) -> Option<String> {
        let id = fs::read_to_string(self.container_file(name)).ok()?;
        (!id.is_empty()).then_some(id)
    }

    pub(crate) fn has_process(&self, name: &str) -> bool {
        self.process(name).is_some_and(ProcessId::is_alive)
    }

    pub(crate) fn is_running(&self, name: &str) -> bool {
        self.has_process(name) || self.container(name).is_some_and(|id| containers::is_running(&id))
    }

    pub(crate) fn stop(&self, name: &str) {
        if let Some(process) = self.process(name).filter(|process| process.is_alive()) {
            // SIGINT: Postgres does not wait for its clients to leave.
            process.signal(if name == "postgres" { Signal::INT } else { Signal::TERM });
            if !process.wait_for_exit(STOP_TIMEOUT) {
                process.signal_group(Signal::KILL);
                process.wait_for_exit(STOP_TIMEOUT);
            }
        }
        if let Some(id) = self.container(name) {
            let mut docker = containers::docker(["rm", "--force", "--volumes", &id]);
            let _ = docker.stdout(Stdio::null()).status();
        }
        let _ = fs::remove_file(self.process_file(name));
        let _ = fs::remove_file(self.container_file(name));
    }
}

/// Creates a folder with a name that nothing else has.
pub(crate) fn new_folder(parent: &Path, prefix: &str, mode: u32) -> Result<PathBuf> {
    loop {
        let random: String = std::iter::repeat_with(fastrand::alphanumeric).take(6).collect();
        let path = parent.join(format!("{prefix}.{random}"));
        match DirBuilder::new().mode(mode).create(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).context(format!("cannot create {}", path.display())),
        }
    }
}

/// Writes a file that only its owner can read.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    file.write_all(text.as_bytes())?;
    Ok(())
}

fn remove(path: &Path) -> Result<()> {
    fs::remove_dir_all(path).with_context(|| format!("cannot delete {}", path.display()))
}
