//! `doctor`: checks everything that the worker depends on, and changes nothing. It works without a
//! running worker.
//!
//! Each check is bounded in time and independent: a server that is down makes one bad line, and the
//! checks that need it are skipped.

mod broker;
mod clients;
mod clock;
mod database;
mod gateway;
mod keys;
mod report;
mod timeout;

use clap::Args;
use futures_util::join;
use service::Settings;

use super::output::{print, print_json};
use crate::config;
use report::{Check, Report};
use timeout::with_timeout;

#[derive(Args)]
pub(crate) struct Doctor {
    /// Print JSON for a program: `checks` with `name`, `verdict`, `finding` and `remedy` each, and
    /// `summary`
    #[arg(long)]
    json: bool,
}

/// Exits the process itself: a hanging name look-up cannot be cancelled, and the runtime would wait
/// for it.
pub(crate) async fn run(doctor: Doctor) -> anyhow::Result<std::process::ExitCode> {
    let report = Report::of(checks().await?);
    if doctor.json {
        print_json(&report)?;
    } else {
        print(&report.to_string())?;
    }
    std::process::exit(report.exit_code().into());
}

async fn checks() -> anyhow::Result<Vec<Check>> {
    let settings = Settings::from_env();
    let (primary, backup) = config::gateway(&settings)?;
    let mode = config::topology(&settings)?;
    let broker_config = super::broker_config("doctor")?;
    let database_url = config::database_url(&settings)?;
    let store = super::store()?;
    config::ops_addr(&settings)?;
    let merchants_file = config::merchants_file(&settings)?;
    let clients_file = config::clients_file(&settings);

    let files = read_files(move || {
        let (mut checks, merchants) = keys::merchants(&merchants_file);
        checks.extend(match &clients_file {
            Ok(None) => clients::none(),
            Ok(Some(file)) => clients::checks(file, merchants.as_deref()),
            Err(setting) => clients::unusable(setting),
        });
        checks
    });
    // Boxed: together these futures are large.
    let (gateway, files, broker, database) = join!(
        Box::pin(gateway::checks(primary, backup)),
        files,
        Box::pin(broker::checks(broker_config, mode)),
        Box::pin(database::checks(database_url, store)),
    );
    let groups = [gateway, vec![keys::self_test()], files, broker, database];
    Ok(groups.into_iter().flatten().collect())
}

/// Reads files, which can be on a disk that does not respond.
async fn read_files(read: impl FnOnce() -> Vec<Check> + Send + 'static) -> Vec<Check> {
    let task = with_timeout(async { tokio::task::spawn_blocking(read).await });
    match task.await {
        Ok(Ok(checks)) => checks,
        Ok(Err(_)) => vec![unreadable("the check itself failed")],
        Err(problem) => vec![unreadable(&problem)],
    }
}

fn unreadable(problem: &str) -> Check {
    let remedy = "check the disk with the files of WXPAY_MERCHANTS_FILE and WXPAY_CLIENTS_FILE";
    Check::bad("merchants.file", format!("it cannot be read: {problem}"), remedy)
}
