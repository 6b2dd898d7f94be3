use orders::OrderView;
use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::store::{OrderHistory, TimelineEvent};

/// Notifications in a summary; `order explain` shows more.
const NOTIFICATIONS_MAX: usize = 100;

/// What `order show` prints of an order's history.
#[derive(Serialize)]
pub(super) struct Summary<'a> {
    pub(super) order: &'a OrderView,
    /// In the order of `seq`.
    pub(super) transitions: Vec<Transition<'a>>,
    /// Sorted, the oldest first.
    pub(super) notifications: Vec<Notification<'a>>,
    /// Events that the broker has not confirmed.
    pub(super) unpublished: usize,
}

#[derive(Serialize)]
pub(super) struct Transition<'a> {
    pub(super) seq: i32,
    pub(super) from: Option<&'a str>,
    pub(super) to: &'a str,
    pub(super) fact: Option<&'a str>,
    pub(super) source: &'a str,
    #[serde(with = "time::serde::rfc3339")]
    pub(super) at: OffsetDateTime,
    pub(super) event_id: Uuid,
}

#[derive(Serialize)]
pub(super) struct Notification<'a> {
    pub(super) kind: &'a str,
    pub(super) verdict: &'a str,
    pub(super) detail: Option<&'a str>,
    pub(super) repeats: i32,
    #[serde(with = "time::serde::rfc3339")]
    pub(super) received_at: OffsetDateTime,
}

impl<'a> Summary<'a> {
    /// `None` when there is no order.
    pub(super) fn of(history: &'a OrderHistory) -> Option<Self> {
        let mut summary = Self {
            order: history.order.as_ref()?,
            transitions: Vec::new(),
            notifications: Vec::new(),
            unpublished: 0,
        };
        for entry in &history.timeline {
            summary.add(entry.at, &entry.event);
        }
        summary.transitions.sort_by_key(|transition| transition.seq);
        summary.notifications.truncate(NOTIFICATIONS_MAX);
        Some(summary)
    }

    fn add(&mut self, at: OffsetDateTime, event: &'a TimelineEvent) {
        match event {
            TimelineEvent::Transition { seq, from, to, fact, source, event_id } => {
                self.transitions.push(Transition {
                    seq: *seq,
                    from: from.as_deref(),
                    to,
                    fact: fact.as_deref(),
                    source,
                    at,
                    event_id: *event_id,
                });
            }
            TimelineEvent::Notification(it) => self.notifications.push(Notification {
                kind: &it.kind,
                verdict: &it.verdict,
                detail: it.detail.as_deref(),
                repeats: it.repeats,
                received_at: it.received_at,
            }),
            TimelineEvent::Event { is_confirmed: false, .. } => self.unpublished += 1,
            _ => {}
        }
    }
}
