//! Starts and stops a gateway.

use std::io;
use std::net::SocketAddr;
use std::ops::Deref;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::calls::gateway;
use crate::config::Config;
use crate::control::routes;
use crate::simulator::Simulator;

/// Serves until `stop` is cancelled. All listeners serve the same merchants and the same data: the
/// first is the main host, a second one the backup host.
///
/// # Errors
/// When the configuration cannot be used.
pub async fn run(
    config: Config,
    listeners: Vec<TcpListener>,
    stop: CancellationToken,
) -> io::Result<()> {
    let simulator = Simulator::new(config, stop.clone())?;
    for listener in listeners {
        let addr = simulator.listen(listener)?;
        tracing::info!(%addr, "the gateway listens");
    }
    stop.cancelled().await;
    simulator.wait_for_tasks().await;
    Ok(())
}

/// A gateway in this process, for tests. It stops when the handle is dropped.
pub struct Handle {
    simulator: Simulator,
    addr: SocketAddr,
}

impl Simulator {
    /// Starts a gateway on the current runtime.
    ///
    /// # Errors
    /// When the configuration or the listener cannot be used.
    pub fn start(config: Config, listener: TcpListener) -> io::Result<Handle> {
        let simulator = Self::new(config, CancellationToken::new())?;
        let addr = simulator.listen(listener)?;
        Ok(Handle { simulator, addr })
    }

    /// Serves one more host with the same data, and returns its address.
    ///
    /// # Errors
    /// When the listener has no address.
    pub fn listen(&self, listener: TcpListener) -> io::Result<SocketAddr> {
        let addr = listener.local_addr()?;
        let routes = gateway::routes().merge(routes::routes()).with_state(self.clone());
        let stop = self.stop_token().clone().cancelled_owned();
        let served = axum::serve(listener, routes).with_graceful_shutdown(stop);
        self.tasks().spawn(async move {
            if let Err(error) = served.await {
                tracing::error!(%error, "the gateway stopped listening");
            }
        });
        Ok(addr)
    }
}

impl Handle {
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The base URL for a client.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Stops, and waits until all tasks have ended.
    pub async fn stop(self) {
        self.simulator.stop_token().cancel();
        self.simulator.wait_for_tasks().await;
    }
}

impl Deref for Handle {
    type Target = Simulator;

    fn deref(&self) -> &Simulator {
        &self.simulator
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.simulator.stop_token().cancel();
    }
}
