//! The same two servers as containers, for machines without the packages.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::Server;
use crate::startup::Startup;

pub(crate) fn docker<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let mut docker = Command::new("docker");
    docker.args(arguments).stdin(Stdio::null());
    docker
}

pub(crate) fn docker_answers() -> bool {
    // `docker info` waits for an engine that hangs.
    let mut info = Command::new("timeout");
    info.args(["10", "docker", "info"]).stdin(Stdio::null());
    succeeds(&mut info)
}

pub(crate) fn is_running(id: &str) -> bool {
    let inspect = docker(["inspect", "--format", "{{.State.Running}}", id]).output();
    inspect.is_ok_and(|output| output.stdout.starts_with(b"true"))
}

pub(crate) fn log(id: &str) -> String {
    let logs = docker(["logs", "--tail", "60", id]).output();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    logs.map(|logs| text(&logs.stdout) + &text(&logs.stderr)).unwrap_or_default()
}

pub(crate) fn start_postgres(startup: &mut Startup) -> Result<()> {
    let password = startup.password().to_owned();
    let mut options = Options::new("postgres", 5432);
    options.environment("POSTGRES_PASSWORD", &password);
    options.image = &["postgres:17", "-c", "max_connections=300"];
    options.settings = &["POSTGRES_USER=wxpay", "POSTGRES_DB=wxpay"];
    let id = options.run(startup)?;
    // Over TCP, because the image's first, temporary server listens on its socket only.
    let ready = ["exec", &id, "pg_isready", "-q", "-h", "127.0.0.1", "-U", "wxpay"];
    options.wait_until_ready(startup, Duration::from_secs(60), &ready)?;
    let url = format!("postgres://wxpay:{password}@{}/wxpay", options.address(&id)?);
    startup.folder().publish(Server::Postgres.variable(), &url)
}

pub(crate) fn start_rabbitmq(startup: &mut Startup) -> Result<()> {
    let password = startup.password().to_owned();
    let mut options = Options::new("rabbitmq", 5672);
    options.environment("RABBITMQ_DEFAULT_PASS", &password);
    options.image = &["rabbitmq:4"];
    options.settings = &["RABBITMQ_DEFAULT_USER=wxpay"];
    let id = options.run(startup)?;
    let ready = ["exec", &id, "rabbitmq-diagnostics", "-q", "check_port_connectivity"];
    options.wait_until_ready(startup, Duration::from_secs(120), &ready)?;
    let url = format!("amqp://wxpay:{password}@{}/%2f", options.address(&id)?);
    startup.folder().publish(Server::RabbitMq.variable(), &url)?;
    let path = startup.folder().path().join("rabbitmqctl");
    fs::write(&path, format!("#!/bin/sh\nexec docker exec -i {id} rabbitmqctl \"$@\"\n"))?;
    fs::set_permissions(&path, Permissions::from_mode(0o755))?;
    Ok(())
}

/// How one container is started.
struct Options<'a> {
    name: &'static str,
    port: u16,
    /// A variable whose value is not to be seen in the arguments.
    secret: (&'static str, &'a str),
    settings: &'a [&'a str],
    /// The image and the arguments of its program.
    image: &'a [&'a str],
}

impl<'a> Options<'a> {
    fn new(name: &'static str, port: u16) -> Self {
        Self { name, port, secret: ("", ""), settings: &[], image: &[] }
    }

    fn environment(&mut self, variable: &'static str, value: &'a str) {
        self.secret = (variable, value);
    }

    /// Starts the container and returns its id. The engine chooses the port on this side.
    fn run(&self, startup: &mut Startup) -> Result<String> {
        startup.launched_container(self.name);
        let file = startup.folder().container_file(self.name);
        let _ = fs::remove_file(&file);
        let mut run = docker(["run", "--detach", "--cidfile"]);
        run.arg(&file).args(["--publish", &format!("127.0.0.1::{}", self.port)]);
        run.args(["--env", self.secret.0]).env(self.secret.0, self.secret.1);
        for setting in self.settings {
            run.args(["--env", setting]);
        }
        let status = run.args(self.image).stdout(Stdio::null()).status()?;
        ensure!(status.success(), "docker cannot run {}", self.image[0]);
        startup.folder().container(self.name).context("docker has named no container")
    }

    fn wait_until_ready(&self, startup: &Startup, limit: Duration, check: &[&str]) -> Result<()> {
        let is_ready = || succeeds(&mut docker(check.iter().copied()));
        if startup.wait_until_ready(self.name, limit, is_ready)? {
            Ok(())
        } else {
            Err(startup.failure(self.name, "ended while it started"))
        }
    }

    fn address(&self, id: &str) -> Result<String> {
        let output = docker(["port", id, &format!("{}/tcp", self.port)]).output()?;
        let text = String::from_utf8(output.stdout)?;
        match text.lines().next() {
            Some(address) => Ok(address.to_owned()),
            None => bail!("docker publishes no port of {}", self.name),
        }
    }
}

fn succeeds(command: &mut Command) -> bool {
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}
