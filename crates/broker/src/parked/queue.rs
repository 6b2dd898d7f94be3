//! The queues without a consumer, which wait for an operator.

use std::fmt;

use crate::namespace::Namespace;
use crate::topology::{self, Queue};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ParkedQueue {
    /// Commands that the worker parked.
    Orders,
    /// Notifications that the worker parked.
    Notifications,
    /// Messages published while no queue was bound for them.
    Unrouted,
}

impl ParkedQueue {
    pub const ALL: [Self; 3] = [Self::Orders, Self::Notifications, Self::Unrouted];

    /// As operators write it: `orders`, `notifications` or `unrouted`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Orders => Queue::Orders.name(),
            Self::Notifications => Queue::Notifications.name(),
            Self::Unrouted => topology::UNROUTED,
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|queue| queue.name() == text)
    }

    /// On the broker, with the namespace.
    pub fn full_name(self, namespace: &Namespace) -> String {
        match self {
            Self::Orders => topology::parked_name(namespace, Queue::Orders),
            Self::Notifications => topology::parked_name(namespace, Queue::Notifications),
            Self::Unrouted => topology::unrouted_name(namespace),
        }
    }
}

impl fmt::Display for ParkedQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
