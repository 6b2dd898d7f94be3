//! RabbitMQ from Debian's package. Its commands in the PATH must be run by root or by the user
//! rabbitmq; those in `PROGRAMS` need not.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Result;

use crate::Server;
use crate::ports::free_port;
use crate::startup::Startup;

const PROGRAMS: &str = "/usr/lib/rabbitmq/bin";
/// The first version whose quorum queues expire messages.
const VERSION_MIN: (u32, u32) = (3, 10);
const START_TIMEOUT: Duration = Duration::from_secs(120);
const EPMD_TIMEOUT: Duration = Duration::from_secs(10);
/// Another process may take a port between the check and the bind.
const ATTEMPTS: u32 = 3;
/// Loopback only, for the broker and for its tools: Erlang's default is every interface.
const ERLANG_LOOPBACK: &str = "-kernel inet_dist_use_interface {127,0,0,1}";

pub(crate) fn is_installed() -> bool {
    let program = fs::canonicalize(Path::new(PROGRAMS).join("rabbitmq-server"));
    let version = program.ok().and_then(|path| {
        let folders = path.iter().filter_map(|folder| folder.to_str());
        let mut versions = folders.filter_map(|folder| folder.strip_prefix("rabbitmq_server-"));
        let mut numbers = versions.next()?.split('.');
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    });
    version.is_some_and(|version: (u32, u32)| version >= VERSION_MIN)
}

pub(crate) fn start(startup: &mut Startup) -> Result<()> {
    let base = startup.data(Server::RabbitMq);
    startup.make_folder(&base)?;
    startup.write(&base.join("enabled_plugins"), "[].\n")?;
    for _ in 0..ATTEMPTS {
        let amqp_port = free_port();
        let epmd_port = free_port();
        startup.write(&base.join("rabbitmq.conf"), &configuration(startup, amqp_port))?;
        // An own epmd: one that Erlang starts by itself would outlive the broker.
        startup.folder().stop("epmd");
        let mut epmd = startup.daemon("epmd");
        epmd.args(["-address", "127.0.0.1", "-port", &epmd_port.to_string()]);
        startup.launch("epmd", epmd)?;
        if !startup.wait_until_ready("epmd", EPMD_TIMEOUT, || epmd_answers(epmd_port))? {
            continue;
        }
        write_rabbitmqctl(startup, &base, epmd_port)?;
        let server = server_command(startup, &base, epmd_port, free_port());
        startup.launch("rabbitmq", server)?;
        let rabbitmqctl = startup.folder().path().join("rabbitmqctl");
        let is_ready = || {
            startup.folder().has_process("epmd")
                && speaks_amqp(amqp_port)
                && has_started(&rabbitmqctl)
        };
        if startup.wait_until_ready("rabbitmq", START_TIMEOUT, is_ready)? {
            let password = startup.password();
            let url = format!("amqp://wxpay:{password}@127.0.0.1:{amqp_port}/%2f");
            return startup.folder().publish(Server::RabbitMq.variable(), &url);
        }
    }
    Err(startup.failure("rabbitmq", "ended while it started"))
}

fn configuration(startup: &Startup, amqp_port: u16) -> String {
    let password = startup.password();
    format!(
        "listeners.tcp.1 = 127.0.0.1:{amqp_port}\n\
         default_user = wxpay\n\
         default_pass = {password}\n\
         vm_memory_high_watermark.relative = 0.4\n\
         disk_free_limit.absolute = 50MB\n\
         log.file = false\n\
         log.console = true\n\
         log.console.level = info\n"
    )
}

fn server_command(startup: &Startup, base: &Path, epmd_port: u16, dist_port: u16) -> Command {
    let mut command = startup.daemon(Path::new(PROGRAMS).join("rabbitmq-server"));
    command
        .env("HOME", base)
        .env("RABBITMQ_NODENAME", "wxpay@localhost")
        .env("RABBITMQ_DIST_PORT", dist_port.to_string())
        .env("ERL_EPMD_ADDRESS", "127.0.0.1")
        .env("ERL_EPMD_PORT", epmd_port.to_string())
        .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
        .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", ERLANG_LOOPBACK)
        .env("RABBITMQ_BASE", base)
        .env("RABBITMQ_MNESIA_BASE", base.join("mnesia"))
        .env("RABBITMQ_LOG_BASE", base.join("log"))
        .env("RABBITMQ_PID_FILE", base.join("pid"))
        .env("RABBITMQ_SCHEMA_DIR", base.join("schema"))
        .env("RABBITMQ_GENERATED_CONFIG_DIR", base.join("generated"))
        .env("RABBITMQ_CONFIG_FILE", base.join("rabbitmq.conf"))
        .env("RABBITMQ_CONFIG_FILES", base.join("conf.d"))
        .env("RABBITMQ_ADVANCED_CONFIG_FILE", base.join("advanced.config"))
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", base.join("enabled_plugins"));
    command
}

/// Writes a `rabbitmqctl` that talks to this broker, whatever else runs on the machine.
fn write_rabbitmqctl(startup: &Startup, base: &Path, epmd_port: u16) -> Result<()> {
    let path = startup.folder().path().join("rabbitmqctl");
    let base = base.display();
    let script = format!(
        "#!/bin/sh\n\
         exec env HOME='{base}' RABBITMQ_NODENAME=wxpay@localhost \\\n  \
         ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT={epmd_port} \\\n  \
         RABBITMQ_CONF_ENV_FILE=/dev/null RABBITMQ_CTL_ERL_ARGS='{ERLANG_LOOPBACK}' \\\n  \
         LANG=C.UTF-8 {PROGRAMS}/rabbitmqctl \"$@\"\n"
    );
    fs::write(&path, script)?;
    fs::set_permissions(&path, Permissions::from_mode(0o755))?;
    Ok(())
}

fn epmd_answers(port: u16) -> bool {
    let mut epmd = Command::new("epmd");
    epmd.args(["-port", &port.to_string(), "-names"]).stdin(Stdio::null());
    let status = epmd.stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Whether AMQP 0-9-1 is answered with a method frame, which is `connection.start`.
fn speaks_amqp(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { return false };
    let mut frame_type = [0];
    stream.set_read_timeout(Some(Duration::from_secs(5))).is_ok()
        && stream.write_all(b"AMQP\x00\x00\x09\x01").is_ok()
        && stream.read_exact(&mut frame_type).is_ok()
        && frame_type == [1]
}

fn has_started(rabbitmqctl: &Path) -> bool {
    let mut command = Command::new(rabbitmqctl);
    command.args(["--quiet", "--timeout", "20", "await_startup"]).stdin(Stdio::null());
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}
