//! A namespace on the real broker, removed at the end.

use std::{env, thread};

use broker::{AmqpUrl, BrokerConfig, Connection, ConnectionState, Namespace, Setup};
use ingress::Config;
use tokio::runtime;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::http::DEADLINE;

pub(crate) fn amqp_url_text() -> String {
    env::var("WXPAY_AMQP_URL").expect("WXPAY_AMQP_URL must name a running RabbitMQ for this test")
}

pub(crate) struct TestBroker {
    broker: BrokerConfig,
    stop: CancellationToken,
}

impl TestBroker {
    /// With the whole topology declared.
    pub(crate) async fn start() -> Self {
        let broker = Self::empty();
        broker.declare().await;
        broker
    }

    /// A namespace in which no topology is declared.
    pub(crate) fn empty() -> Self {
        let namespace = format!("ingress-{}", Uuid::now_v7().simple());
        let broker = BrokerConfig {
            amqp_url: AmqpUrl::parse(&amqp_url_text()).expect("a URL"),
            namespace: Namespace::parse(&namespace).expect("a namespace"),
            connection_name: "ingress-test".to_owned(),
        };
        Self { broker, stop: CancellationToken::new() }
    }

    /// Declares the topology. The connection stays open as long as this value.
    pub(crate) async fn declare(&self) -> Connection {
        let connection = Connection::start(self.broker.clone(), Setup::Declare, self.stop.clone());
        let mut state = connection.state();
        let up = timeout(DEADLINE, state.wait_for(|state| *state == ConnectionState::Up)).await;
        up.expect("the broker that WXPAY_AMQP_URL names answers in time").expect("lives");
        connection
    }

    /// The configuration of an ingress that uses this namespace.
    pub(crate) fn config(&self) -> Config {
        Config::new(self.broker.amqp_url.clone(), self.broker.namespace.clone())
    }

    pub(crate) fn namespace(&self) -> &str {
        self.broker.namespace.as_str()
    }

    pub(crate) fn token(&self) -> CancellationToken {
        self.stop.clone()
    }
}

impl Drop for TestBroker {
    fn drop(&mut self) {
        self.stop.cancel();
        let broker = self.broker.clone();
        // On a thread of its own, since nothing can be awaited here.
        let delete = thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(broker::delete_topology(&broker))
        });
        let deleted = delete.join();
        if !thread::panicking() {
            deleted.expect("no panic").expect("everything is removed");
        }
    }
}
