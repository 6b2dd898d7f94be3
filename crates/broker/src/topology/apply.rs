//! Declares, checks, measures and (for tests) removes the topology.

use lapin::{
    Channel,
    options::{
        ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions,
        QueueDeleteOptions,
    },
    types::FieldTable,
};

use super::{
    Topology,
    spec::{ExchangeSpec, QueueSpec},
};
use crate::{BrokerConfig, BrokerError, Connection, Namespace, Setup, dial::Wire, error::bounded};

/// How full one of our queues is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueDepth {
    /// With its namespace.
    pub queue: String,
    /// Ready to be delivered; those in a consumer's hands do not count.
    pub messages: u32,
    /// Who consumes it at present.
    pub consumers: u32,
}

/// Measures every queue of the namespace, parked and unrouted ones included, on a channel of its
/// own. Fails if the link is not up or a queue is missing.
pub async fn queue_depths(connection: &Connection) -> Result<Vec<QueueDepth>, BrokerError> {
    let session = connection.session().ok_or_else(|| BrokerError::gone("measuring the queues"))?;
    let channel = session.open_channel().await?;
    let mut depths = Vec::new();
    for queue in Topology::of(connection.namespace()).queues {
        let state = check_queue(&channel, &queue).await?;
        depths.push(QueueDepth {
            queue: queue.name,
            messages: state.message_count(),
            consumers: state.consumer_count(),
        });
    }
    close(&channel).await;
    Ok(depths)
}

/// Removes every queue and exchange of the namespace, whatever is in them. For tests.
pub async fn delete_topology(config: &BrokerConfig) -> Result<(), BrokerError> {
    let wire = Wire::dial(config).await?;
    let deleted = delete_all(wire.connection(), &config.namespace).await;
    wire.hang_up().await;
    deleted
}

async fn delete_all(
    connection: &lapin::Connection,
    namespace: &Namespace,
) -> Result<(), BrokerError> {
    let channel = bounded("opening a channel", connection.create_channel()).await?;
    let Topology { exchanges, queues } = Topology::of(namespace);
    // The senders of dead letters first.
    for QueueSpec { name, .. } in queues.into_iter().rev() {
        let delete = channel.queue_delete(name.as_str().into(), QueueDeleteOptions::default());
        bounded(format!("deleting the queue {name}"), delete).await?;
    }
    for ExchangeSpec { name, .. } in exchanges.into_iter().rev() {
        let delete =
            channel.exchange_delete(name.as_str().into(), ExchangeDeleteOptions::default());
        bounded(format!("deleting the exchange {name}"), delete).await?;
    }
    close(&channel).await;
    Ok(())
}

/// Does to the topology what `setup` says, on a channel of its own.
pub(crate) async fn set_up(
    connection: &lapin::Connection,
    namespace: &Namespace,
    setup: Setup,
) -> Result<(), BrokerError> {
    let channel = bounded("opening a channel", connection.create_channel()).await?;
    match setup {
        Setup::Declare => declare(&channel, &Topology::of(namespace)).await?,
        Setup::Check => check(&channel, &Topology::of(namespace)).await?,
        Setup::CheckPublishOnly => {
            check(&channel, &Topology::published_by_ingress(namespace)).await?;
        }
    }
    close(&channel).await;
    Ok(())
}

/// The net for what is not bound comes first, exchange, queue and binding: whoever finds the other
/// exchanges may publish at once, and until its queue is bound too, the broker would confirm and
/// drop what it takes.
async fn declare(channel: &Channel, topology: &Topology) -> Result<(), BrokerError> {
    let nets = usize::from(!topology.queues.is_empty());
    let (net, exchanges) = topology.exchanges.split_at(nets);
    let (net_queue, queues) = topology.queues.split_at(nets);
    declare_exchanges(channel, net).await?;
    declare_bound(channel, net_queue).await?;
    declare_exchanges(channel, exchanges).await?;
    declare_bound(channel, queues).await
}

async fn declare_exchanges(
    channel: &Channel,
    exchanges: &[ExchangeSpec],
) -> Result<(), BrokerError> {
    for exchange in exchanges {
        let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
        declare_exchange(channel, exchange, "declaring", options).await?;
    }
    Ok(())
}

async fn declare_bound(channel: &Channel, queues: &[QueueSpec]) -> Result<(), BrokerError> {
    for queue in queues {
        let options = QueueDeclareOptions { durable: true, ..Default::default() };
        declare_queue(channel, queue, "declaring", options).await?;
        for (exchange, key) in &queue.bindings {
            let (name, options) = (queue.name.as_str(), QueueBindOptions::default());
            let bind = channel.queue_bind(
                name.into(),
                exchange.as_str().into(),
                (*key).into(),
                options,
                FieldTable::default(),
            );
            bounded(format!("binding the queue {name} to the exchange {exchange}"), bind).await?;
        }
    }
    Ok(())
}

async fn check(channel: &Channel, topology: &Topology) -> Result<(), BrokerError> {
    for exchange in &topology.exchanges {
        let options = ExchangeDeclareOptions { passive: true, ..Default::default() };
        declare_exchange(channel, exchange, "checking", options).await?;
    }
    for queue in &topology.queues {
        check_queue(channel, queue).await?;
    }
    Ok(())
}

pub(super) async fn check_queue(
    channel: &Channel,
    queue: &QueueSpec,
) -> Result<lapin::Queue, BrokerError> {
    let options = QueueDeclareOptions { passive: true, ..Default::default() };
    declare_queue(channel, queue, "checking", options).await
}

pub(super) async fn declare_exchange(
    channel: &Channel,
    ExchangeSpec { name, kind, arguments }: &ExchangeSpec,
    doing: &str,
    options: ExchangeDeclareOptions,
) -> Result<(), BrokerError> {
    let (short, kind) = (name.as_str().into(), kind.clone());
    let declare = channel.exchange_declare(short, kind, options, arguments.clone());
    bounded(format!("{doing} the exchange {name}"), declare).await
}

pub(super) async fn declare_queue(
    channel: &Channel,
    QueueSpec { name, arguments, .. }: &QueueSpec,
    doing: &str,
    options: QueueDeclareOptions,
) -> Result<lapin::Queue, BrokerError> {
    let declare = channel.queue_declare(name.as_str().into(), options, arguments.clone());
    bounded(format!("{doing} the queue {name}"), declare).await
}

/// Closes a channel, for each that is given up while its connection goes on or is closed in good
/// order: one that is merely dropped is closed by the client library behind our back, and if that
/// fails (because the connection is closing, too) it reports the whole connection as broken.
///
/// A channel that does not close in time takes nothing down with it: it goes with its connection.
pub(crate) async fn close(channel: &Channel) {
    let _ = bounded("closing a channel", channel.close(200, "OK".into())).await;
}
