//! A Postgres and a RabbitMQ of a test's own, which it may break. They are started by
//! `deploy/services.sh` from Debian's packages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use reqwest::Url;
use uuid::Uuid;

use crate::eventually;

/// Private servers, in a folder of their own. Dropping it ends them and deletes their data.
pub struct Servers {
    folder: PathBuf,
}

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    Postgres,
    RabbitMq,
}

impl Server {
    fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::RabbitMq => "rabbitmq",
        }
    }

    fn variable(self) -> &'static str {
        match self {
            Self::Postgres => "WXPAY_DATABASE_URL",
            Self::RabbitMq => "WXPAY_AMQP_URL",
        }
    }
}

impl Servers {
    pub async fn start() -> Self {
        let name = format!("wxpay-servers-{}", Uuid::new_v4().simple());
        let servers = Self { folder: std::env::temp_dir().join(name) };
        servers.up().await;
        servers
    }

    /// Starts whichever is not running, with the data that it had, maybe on another port.
    pub async fn up(&self) {
        let mut script = self.script("up");
        let output = in_background(move || script.output()).await;
        assert!(output.status.success(), "the servers do not start: {output:?}");
    }

    /// Where a server listens now.
    pub fn url(&self, server: Server) -> Url {
        let addresses = fs::read_to_string(self.folder.join("env")).unwrap();
        let prefix = format!("export {}='", server.variable());
        let url = addresses.lines().find_map(|line| line.strip_prefix(&prefix)?.strip_suffix('\''));
        Url::parse(url.unwrap()).unwrap()
    }

    /// Its host and port.
    pub fn address(&self, server: Server) -> String {
        let url = self.url(server);
        format!("{}:{}", url.host_str().unwrap(), url.port().unwrap())
    }

    /// Kills it between two lines, with all of its processes, and waits for their end.
    pub async fn kill(&self, server: Server) {
        let first = self.pid(server);
        let all = family(first);
        for pid in &all {
            signal("KILL", *pid);
        }
        eventually("the end of a killed server", async || {
            let alive = all.iter().any(|pid| is_alive(*pid));
            (!alive).then_some(())
        })
        .await;
        if server == Server::Postgres {
            // It names a process that is dead, but maybe not yet buried, which Postgres takes for
            // one that lives.
            let _ = fs::remove_file(self.folder.join("data/postgres/postmaster.pid"));
        }
    }

    /// Ends it as its own service manager would, and waits for its end.
    pub async fn stop(&self, server: Server) {
        let first = self.pid(server);
        // Postgres: do not wait for clients to leave.
        signal(if server == Server::Postgres { "INT" } else { "TERM" }, first);
        eventually("the end of a server", async || (!is_alive(first)).then_some(())).await;
    }

    /// Holds it, with all of its processes, as a machine that has stopped does: connections stay,
    /// and nothing answers.
    pub fn freeze(&self, server: Server) {
        family(self.pid(server)).into_iter().for_each(|pid| signal("STOP", pid));
    }

    /// Ends [`Servers::freeze`].
    pub fn resume(&self, server: Server) {
        family(self.pid(server)).into_iter().for_each(|pid| signal("CONT", pid));
    }

    /// Kills the broker and deletes all that it had: queues, messages, users.
    pub async fn delete_broker_data(&self) {
        self.kill(Server::RabbitMq).await;
        fs::remove_dir_all(self.folder.join("data/rabbitmq/mnesia")).unwrap();
    }

    /// Runs `rabbitmqctl` on the broker, and returns what it prints.
    pub async fn rabbitmqctl(&self, arguments: &[&str]) -> String {
        let output = self.try_rabbitmqctl(arguments).await;
        assert!(output.status.success(), "rabbitmqctl {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The same for what may fail.
    pub async fn try_rabbitmqctl(&self, arguments: &[&str]) -> Output {
        let mut ctl = Command::new(self.rabbitmqctl_path());
        ctl.arg("--quiet").args(arguments).stdin(Stdio::null());
        in_background(move || ctl.output()).await
    }

    /// The `rabbitmqctl` that speaks to this broker.
    pub fn rabbitmqctl_path(&self) -> PathBuf {
        self.folder.join("rabbitmqctl")
    }

    fn script(&self, verb: &str) -> Command {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut script = Command::new(root.join("deploy/services.sh"));
        script.arg(verb).arg(&self.folder).stdin(Stdio::null());
        script
    }

    fn pid(&self, server: Server) -> u32 {
        let record = self.folder.join(format!("{}.process", server.name()));
        let record = fs::read_to_string(record).unwrap_or_else(|_| {
            panic!("a test that breaks its servers needs those of Debian's packages")
        });
        record.split_whitespace().next().unwrap().parse().unwrap()
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        let ended = self.script("down").output();
        if !std::thread::panicking() {
            assert!(ended.unwrap().status.success(), "the servers do not end");
        }
    }
}

async fn in_background(run: impl FnOnce() -> std::io::Result<Output> + Send + 'static) -> Output {
    tokio::task::spawn_blocking(run).await.unwrap().unwrap()
}

/// A process and all that it has started, as far as they are alive.
fn family(first: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, parent(pid)?)))
        .collect();
    let mut family = vec![first];
    let mut at = 0;
    while let Some(parent) = family.get(at) {
        let children = parents.iter().filter(|(_, of)| of == parent).map(|(pid, _)| *pid);
        let children: Vec<u32> = children.collect();
        family.extend(children);
        at += 1;
    }
    family
}

/// What follows the name in `/proc/PID/stat`, which may hold spaces: the state, the parent.
fn stat(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

fn parent(pid: u32) -> Option<u32> {
    stat(pid)?.get(1)?.parse().ok()
}

fn is_alive(pid: u32) -> bool {
    stat(pid).is_some_and(|stat| stat[0] != "Z")
}

/// A process that has just ended needs none.
fn signal(name: &str, pid: u32) {
    let kill = Command::new("kill").args([format!("-{name}"), pid.to_string()]).output();
    kill.unwrap();
}
