//! `doctor`: looks at everything the worker depends on, and changes nothing. The worker need not
//! run, and need not be able to.
//!
//! Each check is bounded and stands alone: what is down makes one bad line, and what cannot be
//! judged without it is skipped.

mod broker;
mod clients;
mod clock;
mod database;
mod gateway;
mod keys;
mod report;

use std::time::Duration;

use clap::Args;
use futures_util::join;
use tokio::time::timeout;
use worker::settings;

use self::report::{Check, Report};
use super::output::{print, print_json};

/// One question to a server, a name server or a disk. Postgres gives up a statement after as long,
/// and a person waits no longer.
const WITHIN: Duration = Duration::from_secs(5);

#[derive(Args)]
pub(crate) struct Doctor {
    /// For programs: `checks` with `name`, `verdict`, `finding` and `remedy` each, and `summary`
    #[arg(long)]
    json: bool,
}

/// Ends the process: a look-up of a name that hangs cannot be cancelled, and a runtime in good
/// order would wait for it.
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
    let (primary, backup) = settings::gateway_settings()?;
    let (mode, broker_config) = (settings::topology()?, super::broker_config("doctor")?);
    let (database_url, store) = (settings::database_url()?, super::store()?);
    settings::ops_addr()?;
    let merchants_file = settings::merchants_file()?;
    let clients_file = settings::clients_file();

    let files = within_files(move || {
        let (mut checks, merchants) = keys::merchants(&merchants_file);
        checks.extend(match &clients_file {
            Ok(None) => clients::none(),
            Ok(Some((file, user))) => clients::checks(file, user.as_deref(), merchants.as_deref()),
            Err(setting) => clients::unusable(setting),
        });
        checks
    });
    // Boxed: together they would fill a page of the stack.
    let (gateway, files, broker, database) = join!(
        Box::pin(gateway::checks(primary, backup)),
        files,
        Box::pin(broker::checks(broker_config, mode)),
        Box::pin(database::checks(database_url, store)),
    );
    let groups = [gateway, vec![keys::self_test()], files, broker, database];
    Ok(groups.into_iter().flatten().collect())
}

/// Reads files, which can lie on a disk that does not answer.
async fn within_files(read: impl FnOnce() -> Vec<Check> + Send + 'static) -> Vec<Check> {
    let task = within(async { tokio::task::spawn_blocking(read).await });
    match task.await {
        Ok(Ok(checks)) => checks,
        Ok(Err(_)) => vec![unread("the check itself broke")],
        Err(problem) => vec![unread(&problem)],
    }
}

fn unread(problem: &str) -> Check {
    let remedy = "look at the disk that the files of WXPAY_MERCHANTS_FILE and WXPAY_CLIENTS_FILE \
                  lie on";
    Check::bad("merchants.file", format!("it cannot be read: {problem}"), remedy)
}

/// The answer to a question, or why there is none. It is asked in a task of its own and never
/// cancelled, as the store demands; one that gives no answer is left behind.
async fn within<T: Send + 'static>(
    question: impl Future<Output = T> + Send + 'static,
) -> Result<T, String> {
    answer(WITHIN, question).await
}

async fn answer<T: Send + 'static>(
    within: Duration,
    question: impl Future<Output = T> + Send + 'static,
) -> Result<T, String> {
    match timeout(within, tokio::spawn(question)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) => Err("the check itself broke".to_owned()),
        Err(_) => Err(format!("no answer within {} s", within.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_question_that_is_never_answered_or_breaks_stops_nobody() {
        assert_eq!(within(async { 1 }).await, Ok(1));
        let never = answer(Duration::ZERO, std::future::pending::<u8>()).await;
        assert_eq!(never, Err("no answer within 0 s".to_owned()));
        let broken: Result<(), _> = within(async { panic!("on purpose") }).await;
        assert_eq!(broken, Err("the check itself broke".to_owned()));
    }
}
