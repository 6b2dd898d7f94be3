//! Deletes the topology, for tests.

use lapin::options::{ExchangeDeleteOptions, QueueDeleteOptions};

use crate::amqp_channel;
use crate::config::BrokerConfig;
use crate::connection::connect::AmqpConnection;
use crate::error::{BrokerError, bounded};
use crate::namespace::Namespace;
use crate::topology::spec::{ExchangeSpec, QueueSpec, Topology};

/// Deletes every queue and exchange of the namespace with all messages in them. For tests.
pub async fn delete_topology(config: &BrokerConfig) -> Result<(), BrokerError> {
    let connection = AmqpConnection::connect(config).await?;
    let deleted = delete_all(connection.amqp(), &config.namespace).await;
    connection.close().await;
    deleted
}

async fn delete_all(amqp: &lapin::Connection, namespace: &Namespace) -> Result<(), BrokerError> {
    let channel = amqp_channel::open(amqp).await?;
    let Topology { exchanges, queues } = Topology::of(namespace);
    // In reverse: the queues that send dead letters before their targets.
    for QueueSpec { name, .. } in queues.into_iter().rev() {
        let delete = channel.queue_delete(name.as_str().into(), QueueDeleteOptions::default());
        bounded(format!("deleting the queue {name}"), delete).await?;
    }
    for ExchangeSpec { name, .. } in exchanges.into_iter().rev() {
        let delete =
            channel.exchange_delete(name.as_str().into(), ExchangeDeleteOptions::default());
        bounded(format!("deleting the exchange {name}"), delete).await?;
    }
    amqp_channel::close(&channel).await;
    Ok(())
}
