//! `wxpay-ingress`: reads its settings from the environment, serves until SIGTERM or SIGINT, and
//! rereads its certificates on SIGHUP.

use std::process::ExitCode;

use anyhow::Context;
use ingress::{Config, Listeners, Tls};
use service::{EXIT_USAGE, Settings, shutdown};

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
    let config = match Config::read(&Settings::from_env()) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("wxpay-ingress: {error}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    service::log::start(&config.log);
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
    // Before the line "listening": a supervisor that reads it may stop the program at once.
    let stop = shutdown::stop_signal().context("cannot watch for signals")?;
    let reread = reread_certificates(config.public_tls.clone(), config.private_tls.clone());
    shutdown::on_hangup(reread).context("cannot watch for signals")?;
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

/// Takes a renewed certificate into use without a restart.
fn reread_certificates(public: Option<Tls>, private: Option<Tls>) -> impl FnMut() {
    move || {
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
}
