//! Declares or checks the topology.

use lapin::Channel;
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;

use crate::amqp_channel;
use crate::error::{BrokerError, bounded};
use crate::namespace::Namespace;
use crate::topology::Setup;
use crate::topology::spec::{Binding, ExchangeSpec, QueueSpec, Topology};

/// On a channel of its own.
pub(crate) async fn set_up(
    amqp: &lapin::Connection,
    namespace: &Namespace,
    setup: Setup,
) -> Result<(), BrokerError> {
    let channel = amqp_channel::open(amqp).await?;
    match setup {
        Setup::Declare => declare(&channel, &Topology::of(namespace)).await?,
        Setup::Check => check(&channel, &Topology::of(namespace)).await?,
        Setup::CheckPublishOnly => {
            check(&channel, &Topology::published_by_ingress(namespace)).await?;
        }
    }
    amqp_channel::close(&channel).await;
    Ok(())
}

/// The alternate exchange comes first, with its queue and binding: another process may publish as
/// soon as the other exchanges exist, and without the alternate exchange's queue the broker would
/// confirm and drop what is not bound yet.
async fn declare(channel: &Channel, topology: &Topology) -> Result<(), BrokerError> {
    let (alternate, exchanges) = topology.exchanges.split_at(1);
    let (alternate_queue, queues) = topology.queues.split_at(1);
    declare_exchanges(channel, alternate).await?;
    declare_bound(channel, alternate_queue).await?;
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
        for Binding { exchange, routing_key } in &queue.bindings {
            let name = queue.name.as_str();
            let bind = channel.queue_bind(
                name.into(),
                exchange.as_str().into(),
                (*routing_key).into(),
                QueueBindOptions::default(),
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
    action: &str,
    options: ExchangeDeclareOptions,
) -> Result<(), BrokerError> {
    let declare =
        channel.exchange_declare(name.as_str().into(), kind.clone(), options, arguments.clone());
    bounded(format!("{action} the exchange {name}"), declare).await
}

pub(super) async fn declare_queue(
    channel: &Channel,
    QueueSpec { name, arguments, .. }: &QueueSpec,
    action: &str,
    options: QueueDeclareOptions,
) -> Result<lapin::Queue, BrokerError> {
    let declare = channel.queue_declare(name.as_str().into(), options, arguments.clone());
    bounded(format!("{action} the queue {name}"), declare).await
}
