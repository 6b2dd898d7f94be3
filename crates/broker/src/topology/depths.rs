//! Measures the depth of each queue.

use crate::amqp_channel;
use crate::connection::Connection;
use crate::error::BrokerError;
use crate::topology::declare::check_queue;
use crate::topology::spec::Topology;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueDepth {
    /// Its name with the namespace.
    pub queue: String,
    /// Ready to be delivered; unacknowledged messages do not count.
    pub messages: u32,
    pub consumers: u32,
}

impl QueueDepth {
    pub(crate) fn new(queue: String, state: &lapin::Queue) -> Self {
        Self { queue, messages: state.message_count(), consumers: state.consumer_count() }
    }
}

/// Measures every queue of the namespace, the parked and unrouted ones included, on a channel of
/// its own. Fails if the connection is not up or a queue is missing.
pub async fn queue_depths(connection: &Connection) -> Result<Vec<QueueDepth>, BrokerError> {
    let session = connection.session();
    let session = session.ok_or_else(|| BrokerError::connection_lost("measuring the queues"))?;
    let channel = session.open_channel().await?;
    let mut depths = Vec::new();
    for queue in Topology::of(connection.namespace()).queues {
        let state = check_queue(&channel, &queue).await?;
        depths.push(QueueDepth::new(queue.name, &state));
    }
    amqp_channel::close(&channel).await;
    Ok(depths)
}
