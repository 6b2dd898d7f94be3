//! What happened to an order, in the order of time.

mod entries;

use orders::{Difference, OrderView, Problem};
use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use super::NotificationSummary;

/// What is known about a number.
#[derive(Clone, Debug)]
pub(crate) struct OrderHistory {
    /// The order as it is. `None` when there is no order of this number.
    pub(crate) order: Option<OrderView>,
    /// What happened, oldest first.
    pub(crate) timeline: Vec<TimelineEntry>,
    /// Some kind of event has more entries than the timeline shows: its oldest ones are missing.
    pub(crate) is_cut: bool,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct TimelineEntry {
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) at: OffsetDateTime,
    #[serde(flatten)]
    pub(crate) event: TimelineEvent,
}

#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum TimelineEvent {
    /// A command was refused.
    Rejected {
        problem: Problem,
    },
    /// A notification was received.
    Notification(NotificationSummary),
    /// The worker called WeChat.
    Call {
        api: String,
        /// The outcome: `yes`, `no` or `unknown`.
        verdict: String,
        detail: Option<String>,
        duration_ms: i32,
    },
    /// The order was created (`seq` 1), or moved.
    Transition {
        seq: i32,
        from: Option<String>,
        to: String,
        fact: Option<String>,
        source: String,
        #[serde(skip)]
        event_id: Uuid,
    },
    ExceptionOpened {
        exception: String,
        /// Empty where there is no payment.
        transaction_id: String,
        differs: Vec<Difference>,
    },
    ExceptionResolved {
        exception: String,
        transaction_id: String,
        resolution: String,
    },
    /// The broker confirmed an event, or the event waits for that since then.
    Event {
        #[serde(rename = "type")]
        kind: String,
        event_id: Uuid,
        /// The `seq` of its transition.
        seq: Option<i32>,
        is_confirmed: bool,
    },
    /// An operator did something.
    Action {
        operator: String,
        verb: String,
        subject: String,
        reason: Option<String>,
    },
}

impl TimelineEvent {
    /// The order of events of one instant: causes come before effects.
    fn rank(&self) -> u8 {
        match self {
            Self::Rejected { .. } => 0,
            Self::Notification(_) => 1,
            Self::Call { .. } => 2,
            Self::Transition { .. } => 3,
            Self::ExceptionOpened { .. } | Self::ExceptionResolved { .. } => 4,
            Self::Event { .. } => 5,
            Self::Action { .. } => 6,
        }
    }
}
