//! RabbitMQ as this system uses it.
//!
//! * [`Connection`]: one connection, watched over and made again for as long as the process lives.
//! * [`Publisher`]: publishes with confirms and says truthfully what became of each message.
//! * [`Replier`]: answers questions, unconfirmed: an accelerator, never the truth.
//! * [`Consumer`]: takes deliveries in batches, hands them to a [`Handler`], and uses each one up
//!   according to its [`Outcome`].
//! * [`topology`]: the exchanges and queues, as data.
//!
//! The client library underneath (`lapin`) never shows in this interface. Its measured faults are
//! listed in `reference/engineering.md`, sections 0 and 2; each place that designs around one says
//! so.
//!
//! A process should have one link for publishing and another one for consuming: when the broker
//! raises an alarm it stops reading from connections that publish, acknowledgements included.

mod complaint;
mod config;
mod connection;
mod delays;
mod dial;
mod error;
mod namespace;
mod subscription;
mod supervisor;
pub mod topology;
mod trust;
mod url;

mod message;
mod outgoing;
mod publisher;
mod replier;
mod replies;
mod sender;

mod consumer;
mod delivery;
mod handler;

mod parked;
mod unrouted;

pub use config::{BrokerConfig, InvalidSetting};
pub use connection::{Connection, ConnectionState, Setup};
pub use consumer::{Consumer, ConsumerHandle, ConsumerLimits};
pub use delivery::Delivery;
pub use error::BrokerError;
pub use handler::{Handler, Outcome};
pub use message::{Message, Target};
pub use namespace::Namespace;
pub use parked::{ParkedBatch, ParkedMessage, ParkedQueue};
pub use publisher::{NotSentReason, PublishError, Publisher, PublisherLimits, Requester};
pub use replier::Replier;
pub use replies::PendingReply;
pub use subscription::{EventSubscription, subscribe_events};
pub use topology::{
    Exchange, Queue, TopologyMode,
    apply::{QueueDepth, delete_topology, queue_depths},
    exchange_name, queue_name,
    survey::{DriftKind, Survey, TopologyDrift, survey},
};
pub use unrouted::replay_unrouted;
pub use url::AmqpUrl;
