//! `wxpay-simulator`: reads its settings, listens, stops when told to.

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::Context;
use simulator::{SettingError, Settings};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// `EX_USAGE`: the settings are wrong, starting again changes nothing.
const EXIT_USAGE: u8 = 64;

fn main() -> ExitCode {
    // Lossy: what is no text is no usable setting either, and is named as such.
    let variable = |name: &str| Some(std::env::var_os(name)?.to_string_lossy().into_owned());
    let settings = Settings::read(|name| variable(name).filter(|text| !text.is_empty()));
    let settings = settings.and_then(|settings| log_to_stderr(&settings.log).map(|()| settings));
    match settings {
        Err(error) => {
            eprintln!("wxpay-simulator: {error}");
            ExitCode::from(EXIT_USAGE)
        }
        Ok(settings) => match serve(settings) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("wxpay-simulator: {error:#}");
                ExitCode::FAILURE
            }
        },
    }
}

#[tokio::main]
async fn serve(settings: Settings) -> anyhow::Result<()> {
    let mut listeners = Vec::new();
    for addr in [Some(settings.addr), settings.backup_addr].into_iter().flatten() {
        let bound = TcpListener::bind(addr).await;
        listeners.push(bound.with_context(|| format!("cannot listen on {addr}"))?);
    }
    let stop = CancellationToken::new();
    let stopper = stop.clone();
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        tracing::info!("stopping");
        stopper.cancel();
    });
    simulator::run(settings.config, listeners, stop).await?;
    Ok(())
}

/// JSON lines unless a person watches.
fn log_to_stderr(filter: &str) -> Result<(), SettingError> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| SettingError { variable: "WXPAY_LOG", reason: error.to_string() })?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        log.init();
    } else {
        log.json().init();
    }
    Ok(())
}
