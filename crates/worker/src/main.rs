//! `wxpay-worker`: parses, wires and reports; the library runs.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

mod operator;

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
    /// Consume, call WeChat, write, and tell the shops, until SIGTERM
    Run,
    /// Apply the migrations that are missing
    Migrate,
    /// Look at everything that the worker depends on, and say what to do; changes nothing
    ///
    /// Exit code: 0 when nothing is bad, also with warnings; 1 when something is bad; 64 when a
    /// setting says not even where to look.
    Doctor(operator::Doctor),
    /// Look at one order, have it asked about, close it
    Order {
        #[command(subcommand)]
        verb: operator::OrderVerb,
    },
    /// Listen to events, send them again
    Events {
        #[command(subcommand)]
        verb: operator::EventsVerb,
    },
    /// Look at what does not fit, resolve it
    Exceptions {
        #[command(subcommand)]
        verb: operator::ExceptionsVerb,
    },
    /// Look at what WeChat posted, judge it again
    Notification {
        #[command(subcommand)]
        verb: operator::NotificationVerb,
    },
    /// Look at messages that wait for a human, send them again, throw them away
    Parked {
        #[command(subcommand)]
        verb: operator::ParkedVerb,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.verb {
        Verb::Run => run().await,
        Verb::Migrate => migrate().await,
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
            let bad_setting = error.downcast_ref::<worker::BadSetting>().is_some();
            eprintln!("wxpay-worker: {error:#}");
            if bad_setting { ExitCode::from(EXIT_CONFIG) } else { ExitCode::FAILURE }
        }
    }
}

async fn run() -> anyhow::Result<ExitCode> {
    #[cfg(feature = "failpoints")]
    let _armed = fail::FailScenario::setup();
    start_logging()?;
    let config = worker::Config::from_env()?;
    let ops = TcpListener::bind(worker::settings::ops_addr()?).await.map_err(|error| {
        worker::BadSetting { variable: "WXPAY_OPS_ADDR", problem: error.to_string() }
    })?;
    let stop = CancellationToken::new();
    tokio::spawn(stop_on_signal(stop.clone())?);
    tokio::spawn(reread_on_signal(config.merchants.clone())?);
    worker::run(config, ops, stop).await?;
    Ok(ExitCode::SUCCESS)
}

async fn migrate() -> anyhow::Result<ExitCode> {
    worker::migrate(&worker::settings::database_url()?).await?;
    println!("the schema is current");
    Ok(ExitCode::SUCCESS)
}

fn start_logging() -> anyhow::Result<()> {
    let filter = worker::settings::log_filter()?;
    worker::log::start_logging(&filter).map_err(|error| worker::BadSetting {
        variable: "WXPAY_LOG",
        problem: error.to_string(),
    })?;
    Ok(())
}

/// SIGHUP: a key was changed. A file that cannot be used changes nothing.
fn reread_on_signal(merchants: worker::Merchants) -> anyhow::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        while hangup.recv().await.is_some() {
            match worker::settings::merchants() {
                Ok(new) => {
                    merchants.replace(&new);
                    tracing::info!("the merchants file was reread");
                }
                Err(error) => tracing::error!(%error, "the merchants stay as they were"),
            }
        }
    })
}

/// Watches for SIGTERM and SIGINT from the call on, not only from the first poll.
fn stop_on_signal(stop: CancellationToken) -> anyhow::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        stop.cancel();
    })
}
