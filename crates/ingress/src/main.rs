//! `wxpay-ingress`: reads its settings from the environment, serves until SIGTERM or SIGINT, and
//! rereads its certificates on SIGHUP.

use std::process::ExitCode;

use anyhow::Context;
use ingress::{Config, Listeners, Tls};
use service::{EXIT_USAGE, Settings, shutdown};

#[tokio::main]
async fn main() -> ExitCode {
    if let Some(exit_code) = handle_arguments() {
        return exit_code;
    }
    let config = match Config::read(&Settings::from_env()) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("wxpay-ingress: {error}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    service::log::start(&config.log);
    match serve(config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("the service ends with an error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(config: Config) -> anyhow::Result<()> {
    #[cfg(feature = "failpoints")]
    let _armed = fail::FailScenario::setup();
    let listeners = Listeners::bind(&config).await?;
    let stop = shutdown::cancel_on_stop_signal().context("cannot watch for signals")?;
    let public_tls = config.public_tls.clone();
    let private_tls = config.private_tls.clone();
    shutdown::on_hangup(move || {
        Tls::reload("public", public_tls.as_ref());
        Tls::reload("private", private_tls.as_ref());
    })
    .context("cannot watch for signals")?;
    ingress::run(config, listeners, stop).await
}

fn handle_arguments() -> Option<ExitCode> {
    let argument = std::env::args().nth(1)?;
    if matches!(argument.as_str(), "--version" | "-V") {
        println!("wxpay-ingress {}", env!("CARGO_PKG_VERSION"));
        return Some(ExitCode::SUCCESS);
    }
    eprintln!("usage: wxpay-ingress [--version]; the settings are environment variables");
    Some(ExitCode::from(EXIT_USAGE))
}
