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
    /// Look at orders
    Order {
        #[command(subcommand)]
        verb: operator::OrderVerb,
    },
    /// Look at events
    Events {
        #[command(subcommand)]
        verb: operator::EventsVerb,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.verb {
        Verb::Run => run().await,
        Verb::Migrate => migrate().await,
        Verb::Order { verb } => operator::order(verb).await,
        Verb::Events { verb } => operator::events(verb).await,
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
    start_logging()?;
    let config = worker::Config::from_env()?;
    let ops = TcpListener::bind(worker::settings::ops_addr()?).await.map_err(|error| {
        worker::BadSetting { variable: "WXPAY_OPS_ADDR", problem: error.to_string() }
    })?;
    let stop = CancellationToken::new();
    tokio::spawn(stop_on_signal(stop.clone()));
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
    worker::start_logging(&filter).map_err(|error| worker::BadSetting {
        variable: "WXPAY_LOG",
        problem: error.to_string(),
    })?;
    Ok(())
}

async fn stop_on_signal(stop: CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut int)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals cannot be listened to");
        return;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    stop.cancel();
}
