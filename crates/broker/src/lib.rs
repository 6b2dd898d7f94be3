//! RabbitMQ as this system uses it.
//!
//! * [`Link`]: one connection, watched over and made again for as long as the process lives.
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
mod delays;
mod dial;
mod error;
mod link;
mod listen;
mod namespace;
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
pub use consumer::{Consumer, ConsumerHandle, ConsumerLimits};
pub use delivery::Delivery;
pub use error::BrokerError;
pub use handler::{Handler, Outcome};
pub use link::{Link, LinkState, Setup};
pub use listen::{Listening, listen};
pub use message::{Message, Target};
pub use namespace::Namespace;
pub use parked::{ParkedMessage, ParkedQueue, Pile};
pub use publisher::{NotSentReason, PublishError, Publisher, PublisherLimits};
pub use replier::Replier;
pub use replies::PendingReply;
pub use topology::{
    Exchange, Queue, TopologyMode,
    apply::{QueueDepth, delete, depths},
    exchange_name, queue_name,
    survey::{Drift, Problem, Survey, survey},
};
pub use unrouted::replay_unrouted;
pub use url::AmqpUrl;
