//! What a service has to know about its broker.

use crate::connection::url::AmqpUrl;
use crate::namespace::Namespace;

#[derive(Clone, Debug)]
pub struct BrokerConfig {
    /// Address, credentials and virtual host.
    pub amqp_url: AmqpUrl,
    /// Prefix of every exchange and queue.
    pub namespace: Namespace,
    /// Shown in the management UI and in log lines, and the metrics label `connection`.
    pub connection_name: String,
}
