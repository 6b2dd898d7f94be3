//! Starts the service, serves, and stops in order.

use std::sync::Arc;

use anyhow::{Context, ensure};
use broker::{Connection, Setup};
use service::{listener, metrics};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::http::connections::Connections;
use crate::http::server::Server;
use crate::middleware::ip_filter::IpFilter;
use crate::middleware::rate_limit::RateLimit;
use crate::outbound::Outbound;
use crate::{Config, Networks, routes};

/// The two sockets that the service accepts connections on.
#[derive(Debug)]
pub struct Listeners {
    /// Where WeChat posts its notifications.
    pub public: TcpListener,
    /// For shops, probes and metrics.
    pub private: TcpListener,
}

impl Listeners {
    /// Binds the addresses of the configuration. An error names the variable.
    pub async fn bind(config: &Config) -> anyhow::Result<Self> {
        let bind = |variable: &str, address| {
            let listener = listener::bind(address);
            listener.with_context(|| format!("cannot listen on {variable} {address}"))
        };
        Ok(Self {
            public: bind("WXPAY_PUBLIC_ADDR", config.public_addr)?,
            private: bind("WXPAY_PRIVATE_ADDR", config.private_addr)?,
        })
    }
}

/// Serves until `stop`, then finishes the requests in flight, waits for open confirms, and closes
/// the connection to the broker, each within a bound. Fails when the private listener is reachable
/// from other machines and no clients are configured.
pub async fn run(
    config: Config,
    listeners: Listeners,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    check_private_listener(&config, &listeners)?;
    log_listening(&config, &listeners)?;
    let metrics = metrics::install("ingress", env!("CARGO_PKG_VERSION"));
    let limits = config.limits;

    // Outlives `stop`, because requests in flight still need the broker. Also cancelled when this
    // future is dropped.
    let disconnect = CancellationToken::new();
    let _disconnect_on_drop = disconnect.clone().drop_guard();
    let broker = config.broker.clone();
    let connection = Connection::start(broker, Setup::CheckPublishOnly, disconnect.clone());
    let app = Arc::new(App {
        outbound: Outbound::start(connection.clone(), limits, stop.clone()),
        merchants: config.merchants.clone(),
        clients: config.clients.clone(),
        limits,
        stop: stop.clone(),
    });

    let public = public_server(&config, stop.clone());
    let private = private_server(&config, stop);
    let ip_filter = IpFilter::new(config.trusted_proxies, config.public_allow);
    let rate_limit = RateLimit::new(config.public_rate);
    let public_routes = routes::public(Arc::clone(&app), ip_filter, rate_limit);
    let private_routes = routes::private(Arc::clone(&app), metrics.clone());
    let serving = async {
        tokio::join!(
            public.run(listeners.public, public_routes),
            private.run(listeners.private, private_routes),
        )
    };
    tokio::select! {
        _ = serving => {}
        () = metrics::upkeep(&metrics) => {}
    }

    app.outbound.drain().await;
    disconnect.cancel();
    let _ = timeout(limits.drain_timeout, connection.closed()).await;
    tracing::info!("stopped");
    Ok(())
}

fn check_private_listener(config: &Config, listeners: &Listeners) -> anyhow::Result<()> {
    let address = listeners.private.local_addr().context("the private listener")?;
    ensure!(
        config.clients.is_some() || address.ip().to_canonical().is_loopback(),
        "the private listener must be bound to loopback, or clients must be configured"
    );
    Ok(())
}

fn log_listening(config: &Config, listeners: &Listeners) -> anyhow::Result<()> {
    tracing::info!(
        public = %listeners.public.local_addr()?,
        private = %listeners.private.local_addr()?,
        broker = %config.broker.amqp_url,
        namespace = %config.broker.namespace,
        version = env!("CARGO_PKG_VERSION"),
        "listening"
    );
    Ok(())
}

fn public_server(config: &Config, stop: CancellationToken) -> Server {
    let limits = config.limits;
    Server {
        name: "public",
        limits,
        connections: Connections::new("public", limits.connections, limits.connections_per_source),
        trusted_proxies: config.trusted_proxies.clone(),
        tls: config.public_tls.clone(),
        stop,
    }
}

/// One source may have all connections: shops are known, few, and often behind one address.
fn private_server(config: &Config, stop: CancellationToken) -> Server {
    let limits = config.limits;
    Server {
        name: "private",
        limits,
        connections: Connections::new("private", limits.connections, limits.connections),
        trusted_proxies: Networks::default(),
        tls: config.private_tls.clone(),
        stop,
    }
}
