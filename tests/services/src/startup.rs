use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, anyhow};

use crate::folder::{Folder, write_private};
use crate::interrupt;
use crate::process::ProcessId;
use crate::server_user::ServerUser;
use crate::{Server, containers};

const LOG_LINES: usize = 60;

/// One start of servers: what it has made is known, so that a failure can undo it.
pub(crate) struct Startup {
    folder: Folder,
    user: ServerUser,
    data: PathBuf,
    password: String,
    started: Vec<&'static str>,
    data_is_new: bool,
}

impl Startup {
    pub(crate) fn new(folder: Folder) -> Self {
        Self {
            folder,
            user: ServerUser::Current,
            data: PathBuf::new(),
            password: String::new(),
            started: Vec::new(),
            data_is_new: false,
        }
    }

    pub(crate) fn make_data(&mut self) -> Result<()> {
        self.user = ServerUser::choose()?;
        self.folder.mark()?;
        self.data_is_new = self.folder.make_data(self.user)?;
        self.data = fs::canonicalize(self.folder.path().join("data"))?;
        let path = self.data.join("password");
        if !path.is_file() {
            self.write(&path, &random_password()?)?;
        }
        self.password = fs::read_to_string(&path)?;
        Ok(())
    }

    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
    }

    pub(crate) fn data(&self, server: Server) -> PathBuf {
        self.data.join(server.name())
    }

    pub(crate) fn password(&self) -> &str {
        &self.password
    }

    pub(crate) fn password_file(&self) -> PathBuf {
        self.data.join("password")
    }

    /// A program run by the servers' user, without the caller's environment: it may hold secrets
    /// and the settings of other servers.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.user.command(program);
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("LANG", "C.UTF-8")
            .env("HOME", &self.data)
            .current_dir(&self.data)
            .stdin(Stdio::null());
        command
    }

    /// The same in a session of its own, where Ctrl-C does not reach it.
    pub(crate) fn daemon(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.command("setsid");
        command.arg(program);
        command
    }

    pub(crate) fn make_folder(&self, path: &Path) -> Result<()> {
        fs::create_dir_all(path)?;
        fs::set_permissions(path, Permissions::from_mode(0o700))?;
        self.user.own(path)
    }

    /// Writes a file that only the servers' user can read.
    pub(crate) fn write(&self, path: &Path, text: &str) -> Result<()> {
        write_private(path, text)?;
        self.user.own(path)
    }

    /// Starts a server and records its process.
    pub(crate) fn launch(&mut self, name: &'static str, mut command: Command) -> Result<()> {
        let log = File::create(self.folder.log(name))?;
        self.started.push(name);
        command.stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let pid = i32::try_from(child.id())?;
        // None: it has ended already, which the caller finds out.
        if let Some(process) = ProcessId::of(pid) {
            fs::write(self.folder.process_file(name), format!("{process}\n"))?;
        }
        Ok(())
    }

    pub(crate) fn launched_container(&mut self, name: &'static str) {
        self.started.push(name);
    }

    /// Waits until `is_ready`. `false`: the server has ended before.
    pub(crate) fn wait_until_ready(
        &self,
        name: &str,
        limit: Duration,
        mut is_ready: impl FnMut() -> bool,
    ) -> Result<bool> {
        let deadline = Instant::now() + limit;
        while !is_ready() {
            if !self.folder.is_running(name) {
                return Ok(false);
            }
            if Instant::now() >= deadline {
                return Err(self.failure(name, &format!("was not ready within {limit:?}")));
            }
            interrupt::pause(Duration::from_millis(200))?;
        }
        Ok(true)
    }

    /// An error with the end of a server's log.
    pub(crate) fn failure(&self, name: &str, problem: &str) -> Error {
        let log = match self.folder.container(name) {
            Some(id) => containers::log(&id),
            None => fs::read_to_string(self.folder.log(name)).unwrap_or_default(),
        };
        let lines: Vec<&str> = log.lines().collect();
        let end = &lines[lines.len().saturating_sub(LOG_LINES)..];
        anyhow!("{name} {problem}; the end of its log:\n{}", end.join("\n"))
    }

    /// Stops what this run has started and deletes what it has made.
    pub(crate) fn roll_back(&self) {
        for name in self.started.iter().rev() {
            self.folder.stop(name);
        }
        if self.data_is_new
            && let Err(error) = self.folder.delete()
        {
            eprintln!("services: {error:#}");
        }
    }
}

fn random_password() -> Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
