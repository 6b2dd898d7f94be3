//! Which servers are installed, and how the missing ones are.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Result;

use crate::{Server, interrupt, postgres, rabbitmq};

pub(crate) fn is_installed(server: Server) -> bool {
    match server {
        Server::Postgres => postgres::programs().is_some(),
        Server::RabbitMq => rabbitmq::is_installed(),
    }
}

/// The packages of those servers that are not installed.
pub(crate) fn missing(wanted: &[Server]) -> Vec<&'static str> {
    let missing = wanted.iter().filter(|server| !is_installed(**server));
    let package = |server: &Server| match server {
        Server::Postgres => "postgresql",
        Server::RabbitMq => "rabbitmq-server",
    };
    missing.map(package).collect()
}

/// Installs Debian packages. `false`: not done, because this is not root on a Debian, or because
/// apt-get failed.
pub fn install(packages: &[&str]) -> Result<bool> {
    let apt = Path::new("/usr/bin/apt-get");
    if !rustix::process::geteuid().is_root() || !apt.exists() {
        return Ok(false);
    }
    eprintln!("services: installing {}", packages.join(" "));
    let _policy = Policy::forbid_services()?;
    if !run(Command::new(apt).arg("update"))? {
        return Ok(false);
    }
    let mut install = Command::new(apt);
    install.env("DEBIAN_FRONTEND", "noninteractive");
    install.args(["install", "--yes", "--no-install-recommends"]).args(packages);
    run(&mut install)
}

/// Runs a program to its end, and kills it if a signal comes. It prints to stderr.
fn run(command: &mut Command) -> Result<bool> {
    let stdout = std::io::stderr().as_fd().try_clone_to_owned()?;
    let mut child = command.stdin(Stdio::null()).stdout(stdout).spawn()?;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        if let Err(interrupted) = interrupt::pause(Duration::from_millis(100)) {
            child.kill()?;
            child.wait()?;
            return Err(interrupted.into());
        }
    }
}

/// While it exists, Debian starts no service of a package that it installs: the machine gets no
/// system-wide server.
struct Policy {
    file: Option<PathBuf>,
}

impl Policy {
    fn forbid_services() -> Result<Self> {
        let path = PathBuf::from("/usr/sbin/policy-rc.d");
        let mut options = OpenOptions::new();
        match options.write(true).create_new(true).mode(0o755).open(&path) {
            Ok(mut file) => {
                let policy = Self { file: Some(path) };
                file.write_all(b"#!/bin/sh\nexit 101\n")?;
                Ok(policy)
            }
            // The machine has a policy of its own, which stays.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(Self { file: None }),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            let _ = fs::remove_file(file);
        }
    }
}
