use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::folder::Folder;
use crate::process::ProcessId;
use crate::startup::Startup;
use crate::{containers, interrupt, packages, postgres, rabbitmq};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    Postgres,
    RabbitMq,
}

impl Server {
    pub const ALL: [Self; 2] = [Self::Postgres, Self::RabbitMq];

    /// The variable that holds the server's URL.
    pub fn variable(self) -> &'static str {
        match self {
            Self::Postgres => "WXPAY_DATABASE_URL",
            Self::RabbitMq => "WXPAY_AMQP_URL",
        }
    }

    /// The name of its files in the folder.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::RabbitMq => "rabbitmq",
        }
    }
}

/// A Postgres and a RabbitMQ, which keep everything in one folder.
#[derive(Clone, Debug)]
pub struct Services {
    folder: Folder,
}

impl Services {
    pub fn in_folder(path: impl Into<PathBuf>) -> Self {
        Self { folder: Folder::new(path.into()) }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts those of the wanted servers that do not run, with the data that they had, maybe on
    /// another port. On failure everything that this call has started and made is gone again.
    pub fn up(&self, wanted: &[Server]) -> Result<()> {
        let mut startup = Startup::new(self.folder.clone());
        let started = start(&mut startup, wanted);
        if started.is_err() {
            startup.roll_back();
            // Ctrl-C ends the programs of the servers, too: that is not the fault to report.
            interrupt::check()?;
        }
        started
    }

    /// Stops the servers and deletes the folder. `false`: it is not a folder of services.
    pub fn down(&self) -> Result<bool> {
        if !self.folder.is_marked() {
            return Ok(false);
        }
        for name in ["rabbitmq", "epmd", "postgres"] {
            self.folder.stop(name);
        }
        self.folder.delete()?;
        Ok(true)
    }

    /// Where a server listens, with its password.
    pub fn url(&self, server: Server) -> Option<String> {
        self.folder.published(server.variable())
    }

    /// The first process of a server, if it was started from a package.
    pub fn process(&self, server: Server) -> Option<ProcessId> {
        self.folder.process(server.name())
    }

    /// The processes that the servers consist of, each without its children.
    pub(crate) fn processes(&self) -> Vec<ProcessId> {
        let names = ["rabbitmq", "epmd", "postgres"].into_iter();
        names.filter_map(|name| self.folder.process(name)).collect()
    }

    /// The data of a server.
    pub fn data(&self, server: Server) -> PathBuf {
        self.folder.path().join("data").join(server.name())
    }

    /// A `rabbitmqctl` that talks to this broker.
    pub fn rabbitmqctl(&self) -> PathBuf {
        self.folder.path().join("rabbitmqctl")
    }

    pub(crate) fn mark(&self) -> Result<()> {
        self.folder.mark()
    }
}

fn start(startup: &mut Startup, wanted: &[Server]) -> Result<()> {
    let missing = packages::missing(wanted);
    if !missing.is_empty() && !packages::install(&missing)? && !containers::docker_answers() {
        bail!(
            "the servers are missing; install them: sudo apt-get install --no-install-recommends {}",
            missing.join(" ")
        );
    }
    startup.make_data()?;
    for server in wanted {
        if startup.folder().is_running(server.name()) {
            continue;
        }
        startup.folder().stop(server.name());
        if packages::is_installed(*server) {
            match server {
                Server::Postgres => postgres::start(startup)?,
                Server::RabbitMq => rabbitmq::start(startup)?,
            }
        } else if containers::docker_answers() {
            match server {
                Server::Postgres => containers::start_postgres(startup)?,
                Server::RabbitMq => containers::start_rabbitmq(startup)?,
            }
        } else {
            bail!("the {} of this system is too old; Debian 12 has what is needed", server.name());
        }
    }
    Ok(())
}
