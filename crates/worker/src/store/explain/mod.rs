//! The whole story of an order, in the order of time.

mod read;

use orders::{Difference, OrderView, Problem};
use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use super::NotificationSummary;

/// What is known of a number.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The order as it is, where there is one.
    pub order: Option<OrderView>,
    /// What happened, oldest first.
    pub entries: Vec<Entry>,
    /// Of some kind there are more entries than are shown: the oldest ones are missing.
    pub is_cut: bool,
}

/// One thing that happened.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// When, in UTC.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What happened. Of two things at one moment, the one named first here comes first.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum What {
    /// A command was declined.
    Rejected {
        /// Why.
        problem: Problem,
    },
    /// A notification came.
    Notification(NotificationSummary),
    /// WeChat was called.
    Call {
        /// `unifiedorder`, `orderquery` or `closeorder`.
        api: String,
        /// `yes`, `no` or `unknown`.
        verdict: String,
        /// WeChat's code or state, or why nothing is known.
        detail: Option<String>,
        /// How long it took, in milliseconds.
        duration_ms: i32,
    },
    /// The order was born (`seq` 1), or moved.
    Transition {
        /// Its number.
        seq: i32,
        /// The state before, where there was one.
        from: Option<String>,
        /// The state since.
        to: String,
        /// The fact that moved it.
        fact: Option<String>,
        /// Where the fact came from.
        source: String,
    },
    /// Something was found that does not fit.
    ExceptionOpened {
        /// Its kind.
        exception: String,
        /// The payment it is about; empty where there is none.
        transaction_id: String,
        /// What differs.
        differs: Vec<Difference>,
    },
    /// It was resolved.
    ExceptionResolved {
        /// Its kind.
        exception: String,
        /// The payment it is about; empty where there is none.
        transaction_id: String,
        /// What was said.
        resolution: String,
    },
    /// An event was confirmed by the broker, or began to wait for that.
    Event {
        /// Its type.
        #[serde(rename = "type")]
        kind: String,
        /// Its id.
        event_id: Uuid,
        /// The transition's, where it has one.
        seq: Option<i32>,
        /// `false` while it waits.
        is_confirmed: bool,
    },
    /// A person did something.
    Action {
        /// Who.
        operator: String,
        /// What.
        verb: String,
        /// To what.
        subject: String,
        /// Why.
        reason: Option<String>,
    },
}

/// A call to WeChat, as evidence.
#[derive(Clone, Debug, Serialize)]
pub struct CallLine {
    /// When it began.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// `unifiedorder`, `orderquery` or `closeorder`.
    pub api: String,
    /// `yes`, `no` or `unknown`.
    pub verdict: String,
    /// WeChat's code or state, or why nothing is known.
    pub detail: Option<String>,
    /// How long it took, in milliseconds.
    pub duration_ms: i32,
}
