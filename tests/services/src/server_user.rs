use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

/// The user that the servers run as. Postgres refuses to run as root, and RabbitMQ has no need to,
/// so root gives them another one.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ServerUser {
    Current,
    Other { uid: u32, gid: u32 },
}

impl ServerUser {
    pub(crate) fn choose() -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self::Current);
        }
        let ids = |name| Some((id("-u", name)?, id("-g", name)?));
        let ids = ["postgres", "rabbitmq", "nobody"].into_iter().find_map(ids);
        let (uid, gid) = ids.context("there is no user for the servers, not even nobody")?;
        Ok(Self::Other { uid, gid })
    }

    pub(crate) fn command(self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        if let Self::Other { uid, gid } = self {
            command.uid(uid).gid(gid);
        }
        command
    }

    /// Gives the user a file or a folder.
    pub(crate) fn own(self, path: &Path) -> Result<()> {
        if let Self::Other { uid, gid } = self {
            chown(path, Some(uid), Some(gid))
                .with_context(|| format!("cannot give away {}", path.display()))?;
        }
        Ok(())
    }
}

fn id(kind: &str, user: &str) -> Option<u32> {
    let output = Command::new("id").args([kind, user]).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}
