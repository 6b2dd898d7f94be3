//! A private Postgres and a private RabbitMQ, which a test may break. They must come from Debian's
//! packages: the processes of a container cannot be killed one by one.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use reqwest::Url;
use services::Services;
use services::process::{ProcessId, Signal};
use uuid::Uuid;

use crate::eventually;

pub use services::Server;

/// Dropping it stops the servers and deletes their data.
pub struct Servers {
    services: Services,
}

impl Servers {
    pub async fn start() -> Self {
        let name = format!("wxpay-servers-{}", Uuid::new_v4().simple());
        let servers = Self { services: Services::in_folder(std::env::temp_dir().join(name)) };
        servers.up().await;
        servers
    }

    /// Starts those that do not run, with the data that they had, maybe on another port.
    pub async fn up(&self) {
        let services = self.services.clone();
        let up = tokio::task::spawn_blocking(move || services.up(&Server::ALL)).await.unwrap();
        up.unwrap();
    }

    /// Where a server listens now.
    pub fn url(&self, server: Server) -> Url {
        Url::parse(&self.services.url(server).unwrap()).unwrap()
    }

    /// Its host and port.
    pub fn address(&self, server: Server) -> String {
        let url = self.url(server);
        format!("{}:{}", url.host_str().unwrap(), url.port().unwrap())
    }

    /// Kills all processes of a server and waits for their end.
    pub async fn kill(&self, server: Server) {
        let processes = self.process(server).tree();
        processes.iter().for_each(|process| process.signal(Signal::KILL));
        eventually("the end of a killed server", async || {
            let is_alive = processes.iter().any(|process| process.is_alive());
            (!is_alive).then_some(())
        })
        .await;
        if server == Server::Postgres {
            // It names a dead process. Postgres would take another one with its number for a
            // server that still runs.
            let _ = fs::remove_file(self.services.data(server).join("postmaster.pid"));
        }
    }

    /// Stops a server as its service manager would, and waits for its end.
    pub async fn stop(&self, server: Server) {
        let process = self.process(server);
        // SIGINT: Postgres does not wait for its clients to leave.
        process.signal(if server == Server::Postgres { Signal::INT } else { Signal::TERM });
        eventually("the end of a server", async || (!process.is_alive()).then_some(())).await;
    }

    /// Stops all processes of a server, like a machine that hangs: connections stay open, and
    /// nothing is answered.
    pub fn freeze(&self, server: Server) {
        let processes = self.process(server).tree();
        processes.into_iter().for_each(|process| process.signal(Signal::STOP));
    }

    /// Lets the processes of a frozen server run again.
    pub fn resume(&self, server: Server) {
        let processes = self.process(server).tree();
        processes.into_iter().for_each(|process| process.signal(Signal::CONT));
    }

    /// Kills the broker and deletes all that it had: queues, messages, users.
    pub async fn delete_broker_data(&self) {
        self.kill(Server::RabbitMq).await;
        fs::remove_dir_all(self.services.data(Server::RabbitMq).join("mnesia")).unwrap();
    }

    /// Runs `rabbitmqctl` on the broker, and returns what it prints.
    pub async fn rabbitmqctl(&self, arguments: &[&str]) -> String {
        let output = self.try_rabbitmqctl(arguments).await;
        assert!(output.status.success(), "rabbitmqctl {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The same for what may fail.
    pub async fn try_rabbitmqctl(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(self.rabbitmqctl_path());
        command.arg("--quiet").args(arguments).stdin(Stdio::null());
        tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap()
    }

    pub fn rabbitmqctl_path(&self) -> PathBuf {
        self.services.rabbitmqctl()
    }

    fn process(&self, server: Server) -> ProcessId {
        let process = self.services.process(server);
        process.expect("servers of Debian's packages: a test cannot break those of containers")
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        let down = self.services.down();
        if !std::thread::panicking() {
            assert!(down.unwrap(), "the servers' folder is gone");
        }
    }
}
