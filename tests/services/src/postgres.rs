//! Postgres from Debian's package.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::Server;
use crate::ports::free_port;
use crate::startup::Startup;

const VERSION_MIN: u32 = 15;
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Another process may take the port between the check and the bind.
const ATTEMPTS: u32 = 3;

/// The folder with the programs of the newest Postgres, if one is new enough.
pub(crate) fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let versions = versions.filter_map(|entry| {
        let path = entry.ok()?.path();
        let version: u32 = path.file_name()?.to_str()?.parse().ok()?;
        let programs = path.join("bin");
        programs.join("postgres").is_file().then_some((version, programs))
    });
    let (version, programs) = versions.max()?;
    (version >= VERSION_MIN).then_some(programs)
}

pub(crate) fn start(startup: &mut Startup) -> Result<()> {
    let programs = programs().context("Postgres is not installed")?;
    let data = startup.data(Server::Postgres);
    if !data.join("PG_VERSION").is_file() {
        initialize(startup, &programs, &data)?;
    }
    for _ in 0..ATTEMPTS {
        let port = free_port();
        let mut command = startup.daemon(programs.join("postgres"));
        command.arg("-D").arg(&data);
        // Nothing here trades durability for speed: tests see the commits that production makes.
        // No socket files: their path may be longer than the 107 bytes that are allowed.
        let settings = [
            "listen_addresses=127.0.0.1",
            &format!("port={port}"),
            "unix_socket_directories=",
            "max_connections=300",
        ];
        for setting in settings {
            command.args(["-c", setting]);
        }
        startup.launch("postgres", command)?;
        let psql = Psql { programs: &programs, port, password: startup.password() };
        // The folder tells this server from another one that was faster to take the port.
        let is_ready =
            || psql.query("show data_directory").is_some_and(|path| data == Path::new(&path));
        if startup.wait_until_ready("postgres", START_TIMEOUT, is_ready)? {
            let databases = psql.query("select datname from pg_database").unwrap_or_default();
            if !databases.lines().any(|name| name == "wxpay") {
                let created = psql.query("create database wxpay");
                created.context("cannot create the database wxpay")?;
            }
            let url = format!("postgres://wxpay:{}@127.0.0.1:{port}/wxpay", startup.password());
            return startup.folder().publish(Server::Postgres.variable(), &url);
        }
    }
    Err(startup.failure("postgres", "ended while it started"))
}

fn initialize(startup: &Startup, programs: &Path, data: &Path) -> Result<()> {
    let log = File::create(startup.folder().log("postgres"))?;
    let mut initdb = startup.command(programs.join("initdb"));
    initdb.arg("--pgdata").arg(data).arg("--pwfile").arg(startup.password_file());
    initdb.args(["--username=wxpay", "--auth=scram-sha-256", "--encoding=UTF8"]);
    initdb.arg("--locale=C.UTF-8").stdout(log.try_clone()?).stderr(log);
    if initdb.status()?.success() {
        Ok(())
    } else {
        Err(startup.failure("postgres", "could not be set up"))
    }
}

/// The new server's `psql`, without the settings for other servers that a developer may have.
struct Psql<'a> {
    programs: &'a Path,
    port: u16,
    password: &'a str,
}

impl Psql<'_> {
    /// What a statement prints; `None` if it fails.
    fn query(&self, statement: &str) -> Option<String> {
        let mut psql = Command::new(self.programs.join("psql"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PG") {
                psql.env_remove(name);
            }
        }
        psql.env("PGCONNECT_TIMEOUT", "5").env("PGPASSWORD", self.password);
        psql.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]);
        psql.args(["-U", "wxpay", "-d", "postgres", "-qAtX", "-c", statement]);
        let output = psql.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim_end().to_owned())
    }
}
