//! An ingress in the test's own process.

use std::net::SocketAddr;
use std::time::Duration;

use broker::{AmqpUrl, Namespace};
use ingress::{Config, Listeners};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::http::{self, DEADLINE};

pub(crate) struct TestServer {
    pub(crate) public: SocketAddr,
    pub(crate) private: SocketAddr,
    pub(crate) stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl TestServer {
    pub(crate) async fn start(config: Config) -> Self {
        let listeners = Listeners::bind(&config).await.expect("free ports");
        let public = listeners.public.local_addr().expect("bound");
        let private = listeners.private.local_addr().expect("bound");
        let stop = CancellationToken::new();
        let task = tokio::spawn(ingress::run(config, listeners, stop.clone()));
        Self { public, private, stop, task }
    }

    pub(crate) async fn start_without_broker() -> Self {
        Self::start(config_without_broker().await).await
    }

    /// Waits until the service is ready.
    pub(crate) async fn ready(self) -> Self {
        until("the ingress is ready", async || {
            http::get("/readyz").send(self.private).await.status == 200
        })
        .await;
        self
    }

    /// Stops the service and waits until it has ended.
    pub(crate) async fn end(mut self) -> anyhow::Result<()> {
        self.stop.cancel();
        timeout(DEADLINE, &mut self.task).await.expect("stops in time").expect("no panic")
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// With a broker at a port on which nothing listens.
pub(crate) async fn config_without_broker() -> Config {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let amqp_url = AmqpUrl::parse(&format!("amqp://127.0.0.1:{port}/%2f")).expect("a URL");
    Config::new(amqp_url, Namespace::parse("nowhere").expect("a namespace"))
}

/// Waits for a condition, at most [`DEADLINE`].
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(timeout(DEADLINE, waiting).await.is_ok(), "not within {DEADLINE:?}: {what}");
}
