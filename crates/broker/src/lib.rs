//! RabbitMQ as this system uses it.
//!
//! * [`Connection`]: one supervised connection, made again after each loss.
//! * [`Publisher`]: publishes with confirms and reports what is known about each message.
//! * [`Requester`]: a publisher of requests that awaits their replies.
//! * [`Replier`]: sends replies, unconfirmed. A reply is a shortcut; the database is the source of
//!   truth.
//! * [`Consumer`]: takes deliveries in batches, gives them to a [`Handler`], and acknowledges,
//!   delays or parks each one according to its [`Outcome`].
//! * [`topology`]: the exchanges and queues, as data.
//!
//! The client library underneath (`lapin`) is not part of this interface. `README.md` beside this
//! crate describes the topology, the delivery guarantees, and the faults of the library that the
//! code works around.
//!
//! A process needs one connection for publishing and another one for consuming: when the broker
//! raises an alarm it stops reading from connections that publish, acknowledgements included.

mod amqp_channel;
mod config;
mod connection;
mod consume;
mod error;
mod error_deduplicator;
mod namespace;
mod parked;
mod publish;
pub mod topology;
mod user;

pub use config::BrokerConfig;
pub use connection::Connection;
pub use connection::session::ConnectionState;
pub use connection::url::AmqpUrl;
pub use consume::batch_permits::{BatchPermit, BatchPermits};
pub use consume::delivery::Delivery;
pub use consume::event_subscription::{EventSubscription, subscribe_events};
pub use consume::handler::{Handler, Outcome};
pub use consume::{Consumer, ConsumerHandle, ConsumerLimits};
pub use error::{BrokerError, InvalidSetting};
pub use namespace::Namespace;
pub use parked::ParkedBatch;
pub use parked::channel::ParkedMessage;
pub use parked::queue::ParkedQueue;
pub use parked::unrouted::replay_unrouted;
pub use publish::error::{NotSentReason, PublishError};
pub use publish::message::{Message, Target};
pub use publish::replier::Replier;
pub use publish::replies::PendingReply;
pub use publish::requester::Requester;
pub use publish::{Publisher, PublisherLimits};
pub use topology::delete::delete_topology;
pub use topology::depths::{QueueDepth, queue_depths};
pub use topology::survey::{DriftKind, Survey, TopologyDrift, survey};
pub use topology::{Exchange, Queue, Setup, TopologyMode, exchange_name, queue_name};
