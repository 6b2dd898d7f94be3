//! The command line of `wxpay-worker`.

use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use service::{EXIT_USAGE, SettingError, Settings, shutdown};

use crate::config::{self, Config};
use crate::merchants::Merchants;
use crate::migrations::migrate;
use crate::{operator, ops};

#[derive(Parser)]
#[command(version, about = "Handles orders and notifications of WeChat Pay")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Handle commands and notifications, and publish events, until SIGTERM
    Run,
    /// Apply the missing database migrations
    Migrate,
    /// Check everything that the worker depends on, and print what to do; changes nothing
    ///
    /// Exit code: 0 when nothing is bad, also with warnings; 1 when something is bad; 64 when a
    /// setting that says where to connect is wrong.
    Doctor(operator::Doctor),
    /// Show, check or close an order
    Order {
        #[command(subcommand)]
        verb: operator::OrderVerb,
    },
    /// Listen to events, send stored events again
    Events {
        #[command(subcommand)]
        verb: operator::EventsVerb,
    },
    /// Show and resolve exceptions: money or identities that do not fit
    Exceptions {
        #[command(subcommand)]
        verb: operator::ExceptionsVerb,
    },
    /// Show stored notifications of WeChat Pay, replay them
    Notification {
        #[command(subcommand)]
        verb: operator::NotificationVerb,
    },
    /// Show, replay or discard parked messages (the dead-letter queues)
    Parked {
        #[command(subcommand)]
        verb: operator::ParkedVerb,
    },
}

/// Parses the arguments and does what they ask for.
pub async fn run() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.verb {
        Verb::Run => run_worker().await,
        Verb::Migrate => run_migrations().await,
        Verb::Doctor(doctor) => operator::doctor(doctor).await,
        Verb::Order { verb } => operator::order(verb).await,
        Verb::Events { verb } => operator::events(verb).await,
        Verb::Exceptions { verb } => operator::exceptions(verb).await,
        Verb::Notification { verb } => operator::notification(verb).await,
        Verb::Parked { verb } => operator::parked(verb).await,
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("wxpay-worker: {error:#}");
            if error.is::<SettingError>() { ExitCode::from(EXIT_USAGE) } else { ExitCode::FAILURE }
        }
    }
}

async fn run_worker() -> anyhow::Result<ExitCode> {
    #[cfg(feature = "failpoints")]
    let _armed = fail::FailScenario::setup();
    let config = Config::read(&Settings::from_env())?;
    service::log::start(&config.log);
    let ops = ops::bind(&config).await?;
    let stop = shutdown::cancel_on_stop_signal().context("cannot watch for signals")?;
    let reread = reread_merchants(config.merchants.clone());
    shutdown::on_hangup(reread).context("cannot watch for signals")?;
    crate::run(config, ops, stop).await?;
    Ok(ExitCode::SUCCESS)
}

async fn run_migrations() -> anyhow::Result<ExitCode> {
    migrate(&config::database_url(&Settings::from_env())?).await?;
    println!("the schema is current");
    Ok(ExitCode::SUCCESS)
}

/// Takes a changed merchants file into use without a restart. A file that cannot be used changes
/// nothing.
fn reread_merchants(merchants: Merchants) -> impl FnMut() {
    move || match config::merchants(&Settings::from_env()) {
        Ok(new) => {
            merchants.replace(&new);
            tracing::info!("the merchants file was reread");
        }
        Err(error) => tracing::error!(%error, "the merchants stay as they were; fix the file"),
    }
}
