//! The command line of `wxpay-worker`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{BadSetting, Config, Merchants, config, log, migrate, operator};

/// sysexits.h: the configuration is wrong.
const EXIT_CONFIG: u8 = 64;

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
            if error.is::<BadSetting>() { ExitCode::from(EXIT_CONFIG) } else { ExitCode::FAILURE }
        }
    }
}

async fn run_worker() -> anyhow::Result<ExitCode> {
    #[cfg(feature = "failpoints")]
    let _armed = fail::FailScenario::setup();
    start_logging()?;
    let config = Config::from_env()?;
    let ops = TcpListener::bind(config::ops_addr()?)
        .await
        .map_err(|error| BadSetting { variable: "WXPAY_OPS_ADDR", problem: error.to_string() })?;
    let stop = CancellationToken::new();
    tokio::spawn(stop_on_signal(stop.clone())?);
    tokio::spawn(reread_on_signal(config.merchants.clone())?);
    crate::run(config, ops, stop).await?;
    Ok(ExitCode::SUCCESS)
}

async fn run_migrations() -> anyhow::Result<ExitCode> {
    migrate(&config::database_url()?).await?;
    println!("the schema is current");
    Ok(ExitCode::SUCCESS)
}

fn start_logging() -> anyhow::Result<()> {
    let filter = config::log_filter()?;
    log::start_logging(&filter)
        .map_err(|error| BadSetting { variable: "WXPAY_LOG", problem: error.to_string() })?;
    Ok(())
}

/// Rereads the merchants file at each SIGHUP. A file that cannot be used changes nothing.
fn reread_on_signal(merchants: Merchants) -> anyhow::Result<impl Future<Output = ()>> {
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        while hangup.recv().await.is_some() {
            match config::merchants() {
                Ok(new) => {
                    merchants.replace(&new);
                    tracing::info!("the merchants file was reread");
                }
                Err(error) => tracing::error!(%error, "the merchants stay as they were"),
            }
        }
    })
}

/// Catches SIGTERM and SIGINT from the call on, not only from the first poll.
fn stop_on_signal(stop: CancellationToken) -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.cancel();
    })
}
