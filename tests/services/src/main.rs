//! `services`: the command line. See `USAGE`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use services::interrupt::{self, Interrupted};
use services::{Server, Services, with};

const USAGE: &str = "\
usage:
  services up [DIR]          start the servers that do not run; `source DIR/env` sets their addresses
  services down [DIR]        stop what `up` has started and delete DIR
  services with COMMAND...   run COMMAND beside servers that exist as long as it runs

DIR is target/services by default; a relative path starts at the root of the repository.
`with` starts only what is missing: it uses WXPAY_DATABASE_URL and WXPAY_AMQP_URL if they are set.
The servers come from Debian's packages, or from containers if there is a Docker engine.";

const EXIT_USAGE: u8 = 64;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let verb = arguments.first().and_then(|verb| verb.to_str());
    let rest = arguments.get(1..).unwrap_or_default();
    let done = interrupt::catch().map_err(Into::into).and_then(|()| match (verb, rest) {
        (Some("up"), [] | [_]) => up(&services_of(rest)),
        (Some("down"), [] | [_]) => down(&services_of(rest)),
        (Some("with"), [_, ..]) => with::run(&root().join("target"), rest),
        _ => {
            eprintln!("{USAGE}");
            Ok(EXIT_USAGE)
        }
    });
    let code = done.unwrap_or_else(|error| match error.downcast_ref::<Interrupted>() {
        Some(interrupted) => interrupted.exit_code(),
        None => {
            eprintln!("services: {error:#}");
            1
        }
    });
    ExitCode::from(code)
}

fn up(services: &Services) -> Result<u8> {
    services.up(&Server::ALL)?;
    let env = services.folder().join("env");
    eprintln!(
        "services: Postgres and RabbitMQ are running; for their addresses: source {}",
        env.display()
    );
    Ok(0)
}

fn down(services: &Services) -> Result<u8> {
    if !services.down()? {
        eprintln!("services: nothing was started in {}", services.folder().display());
    }
    Ok(0)
}

fn services_of(arguments: &[OsString]) -> Services {
    let folder = arguments.first().map_or_else(|| PathBuf::from("target/services"), PathBuf::from);
    Services::in_folder(root().join(folder))
}

fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    root.expect("the package lies two folders below the root").to_owned()
}
