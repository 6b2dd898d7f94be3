//! The front door: HTTP in, RabbitMQ out, an answer only after the confirm.
//!
//! Two listeners. The public one takes WeChat's notifications, the private one the shops' orders.
//! Neither knows a merchant key or a database: a request is checked for size and shape, published
//! with a confirm, and answered. What it means is decided by the worker.
//!
//! The service starts and stays alive without a broker; it is then not ready, and says so to
//! everybody who asks it for something.

mod clients;
mod config;
mod limits;
mod merchants;
mod networks;
mod source;
mod tls;

mod answer;
mod body;
mod outbound;
mod prefer;
mod problem;
mod routes;
mod traceparent;

mod admission;
mod authentication;
mod connections;
mod gate;
mod observe;
mod rate;
mod server;
mod unread;

use std::sync::Arc;

use anyhow::{Context, ensure};
use broker::{Connection, Setup};
use tokio::{net::TcpListener, time::timeout};
use tokio_util::sync::CancellationToken;

pub use clients::Clients;
pub use config::Config;
pub use limits::Limits;
pub use merchants::Merchants;
pub use networks::Networks;
pub use routes::OPENAPI;
pub use tls::{InvalidTls, Tls};

use connections::Connections;
use gate::Gate;
use outbound::Outbound;
use server::Server;

/// Where requests come in.
#[derive(Debug)]
pub struct Listeners {
    /// For WeChat.
    pub public: TcpListener,
    /// For shops, probes and metrics.
    pub private: TcpListener,
}

impl Listeners {
    /// Listens on the addresses of the configuration.
    ///
    /// # Errors
    /// When an address cannot be had; names its variable.
    pub async fn bind(config: &Config) -> anyhow::Result<Self> {
        let bind = async |variable: &str, address| {
            let listening = TcpListener::bind(address).await;
            listening.with_context(|| format!("cannot listen on {variable} {address}"))
        };
        Ok(Self {
            public: bind("WXPAY_PUBLIC_ADDR", config.public_addr).await?,
            private: bind("WXPAY_PRIVATE_ADDR", config.private_addr).await?,
        })
    }
}

/// What the handlers of both listeners share.
struct App {
    outbound: Outbound,
    merchants: Merchants,
    clients: Option<Clients>,
    limits: Limits,
    /// Cancelled when the service is about to end.
    stop: CancellationToken,
}

/// Serves until `stop`, then finishes what is in flight, waits for the open confirms, and closes
/// the connection to the broker; each of these within a bound.
///
/// # Errors
/// When the private listener is open to other machines and no clients are configured.
pub async fn run(
    config: Config,
    listeners: Listeners,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let private_addr = listeners.private.local_addr().context("the private listener")?;
    ensure!(
        config.clients.is_some() || private_addr.ip().to_canonical().is_loopback(),
        "the private listener must be bound to loopback, or clients must be configured"
    );
    let metrics = service::metrics::install("ingress", env!("CARGO_PKG_VERSION"));
    let limits = config.limits;

    // Outlives `stop`: what is in flight still needs the broker. Cancelled too when this future
    // is dropped.
    let hang_up = CancellationToken::new();
    let _hang_up_on_drop = hang_up.clone().drop_guard();
    let connection = Connection::start(config.broker, Setup::CheckPublishOnly, hang_up.clone());
    let app = Arc::new(App {
        outbound: Outbound::start(connection.clone(), limits, stop.clone()),
        merchants: config.merchants,
        clients: config.clients,
        limits,
        stop: stop.clone(),
    });

    let public = Server {
        name: "public",
        limits,
        connections: Connections::new("public", limits.connections, limits.connections_per_source),
        trusted_proxies: config.trusted_proxies.clone(),
        tls: config.public_tls,
        stop: stop.clone(),
    };
    // Shops are known, few, and often many connections behind one address.
    let private = Server {
        name: "private",
        limits,
        connections: Connections::new("private", limits.connections, limits.connections),
        trusted_proxies: Networks::default(),
        tls: config.private_tls,
        stop,
    };
    let gate = Gate::new(config.trusted_proxies, config.public_allow, config.public_rate);
    let serving = async {
        tokio::join!(
            public.run(listeners.public, routes::public(Arc::clone(&app), gate)),
            private.run(listeners.private, routes::private(Arc::clone(&app), metrics.clone())),
        )
    };
    tokio::select! {
        _ = serving => {}
        () = service::metrics::upkeep(&metrics) => {}
    }

    app.outbound.drain().await;
    hang_up.cancel();
    let _ = timeout(limits.drain_within, connection.closed()).await;
    tracing::info!("stopped");
    Ok(())
}
