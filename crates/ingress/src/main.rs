//! `wxpay-ingress`: reads its settings from the environment, serves until SIGTERM or SIGINT, and
//! rereads its certificates on SIGHUP.

use std::process::ExitCode;

use anyhow::Context;
use ingress::{Config, Listeners, Tls};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// `EX_USAGE` of sysexits: a person has to mend the call or a setting; a restart mends nothing.
const EXIT_USAGE: u8 = 64;

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        None => {}
        Some("--version" | "-V") => {
            println!("wxpay-ingress {}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        Some(_) => {
            eprintln!("usage: wxpay-ingress [--version]; the settings are environment variables");
            return ExitCode::from(EXIT_USAGE);
        }
    }
    let config = match Config::from_env() {
        Ok(config) => config,
        Err(error) => {
            eprintln!("wxpay-ingress: {error}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    ingress::log::init(&config.log);
    match serve(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("cannot go on: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn serve(config: Config) -> anyhow::Result<()> {
    #[cfg(feature = "failpoints")]
    let _armed = fail::FailScenario::setup();
    let listeners = Listeners::bind(&config).await?;
    // Before it says that it listens: whoever reads that may stop it at once.
    let stop = CancellationToken::new();
    tokio::spawn(cancel_on_signal(stop.clone())?);
    tokio::spawn(reread_on_signal(config.public_tls.clone(), config.private_tls.clone())?);
    tracing::info!(
        public = %listeners.public.local_addr()?,
        private = %listeners.private.local_addr()?,
        broker = %config.broker.amqp_url,
        namespace = %config.broker.namespace,
        version = env!("CARGO_PKG_VERSION"),
        "listening"
    );
    ingress::run(config, listeners, stop).await
}

fn cancel_on_signal(stop: CancellationToken) -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot watch for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch for SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        stop.cancel();
    })
}

/// A renewed certificate, without a restart. Never returns.
fn reread_on_signal(
    public: Option<Tls>,
    private: Option<Tls>,
) -> anyhow::Result<impl Future<Output = ()>> {
    let mut hangup = signal(SignalKind::hangup()).context("cannot watch for SIGHUP")?;
    Ok(async move {
        while hangup.recv().await.is_some() {
            for (listener, tls) in [("public", &public), ("private", &private)] {
                match tls.as_ref().map(Tls::reread) {
                    None => {}
                    Some(Ok(())) => tracing::info!(listener, "reread the certificate"),
                    Some(Err(error)) => {
                        tracing::error!(listener, "the certificate stays as it was: {error}");
                    }
                }
            }
        }
    })
}
