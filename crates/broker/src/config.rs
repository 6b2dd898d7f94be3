//! What a service has to know about its broker.

use crate::{AmqpUrl, Namespace};

/// Where the broker is, what is ours on it, and under which name we appear there.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    /// Address, credentials and virtual host.
    pub amqp_url: AmqpUrl,
    /// Prefix of everything we declare.
    pub namespace: Namespace,
    /// Shown in the management UI, in our logs and as the metrics label `connection`.
    pub connection_name: String,
}

/// A setting that cannot be used. The text says what is wrong and never repeats the value, which
/// may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidSetting(pub(crate) &'static str);
