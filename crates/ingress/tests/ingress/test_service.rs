//! An ingress of one's own.

use std::{net::SocketAddr, time::Duration};

use broker::{AmqpUrl, Namespace};
use ingress::{Config, Listeners};
use tokio::{net::TcpListener, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::http::{self, DEADLINE};

pub(crate) struct Service {
    pub(crate) public: SocketAddr,
    pub(crate) private: SocketAddr,
    pub(crate) stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Service {
    pub(crate) async fn start(config: Config) -> Self {
        let listeners = Listeners::bind(&config).await.expect("free ports");
        let (public, private) = (listeners.public.local_addr(), listeners.private.local_addr());
        let stop = CancellationToken::new();
        let task = tokio::spawn(ingress::run(config, listeners, stop.clone()));
        Self { public: public.expect("bound"), private: private.expect("bound"), stop, task }
    }

    pub(crate) async fn start_without_broker() -> Self {
        Self::start(config_without_broker().await).await
    }

    /// Waits until the broker can be used.
    pub(crate) async fn ready(self) -> Self {
        until("the ingress is ready", async || {
            http::get("/readyz").send(self.private).await.status == 200
        })
        .await;
        self
    }

    /// Asks it to stop and waits until it has.
    pub(crate) async fn end(mut self) -> anyhow::Result<()> {
        self.stop.cancel();
        timeout(DEADLINE, &mut self.task).await.expect("stops in time").expect("no panic")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// With a broker at a port on which nobody listens.
pub(crate) async fn config_without_broker() -> Config {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let amqp_url = AmqpUrl::parse(&format!("amqp://127.0.0.1:{port}/%2f")).expect("a URL");
    Config::new(amqp_url, Namespace::parse("nowhere").expect("a namespace"))
}

/// Waits for a condition, but not for ever.
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let looking = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(timeout(DEADLINE, looking).await.is_ok(), "not within {DEADLINE:?}: {what}");
}
