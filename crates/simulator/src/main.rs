//! `wxpay-simulator`: reads its settings from the environment and serves until SIGTERM or SIGINT.

use std::process::ExitCode;

use anyhow::Context;
use service::{EXIT_USAGE, shutdown};
use simulator::Settings;
use tokio::net::TcpListener;

fn main() -> ExitCode {
    let settings = match Settings::from_env() {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("wxpay-simulator: {error}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    service::log::start(&settings.log);
    match serve(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("cannot go on: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn serve(settings: Settings) -> anyhow::Result<()> {
    let mut listeners = Vec::new();
    for addr in [Some(settings.addr), settings.backup_addr].into_iter().flatten() {
        let listener = TcpListener::bind(addr).await;
        listeners.push(listener.with_context(|| format!("cannot listen on {addr}"))?);
    }
    let stop = shutdown::cancel_on_stop_signal().context("cannot watch for signals")?;
    simulator::run(settings.config, listeners, stop).await?;
    Ok(())
}
