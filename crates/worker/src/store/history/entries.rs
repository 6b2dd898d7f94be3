use orders::{OrderKey, Problem};
use sqlx::types::Json;

use super::{OrderHistory, TimelineEntry, TimelineEvent};
use crate::store::{CallLine, ExceptionLine, LINES_MAX, NotificationSummary, Store, StoreError};

impl Store {
    /// Everything that is known about a number: of each kind of event the newest [`LINES_MAX`].
    pub(crate) async fn history(&self, key: &OrderKey) -> Result<OrderHistory, StoreError> {
        let kinds = [
            self.rejection_entries(key).await?,
            self.notification_entries(key).await?,
            self.call_entries(key).await?,
            self.transition_entries(key).await?,
            self.exception_entries(key).await?,
            self.event_entries(key).await?,
            self.action_entries(key).await?,
        ];
        let is_cut = kinds.iter().any(|entries| entries.len() as i64 >= LINES_MAX);
        let mut timeline: Vec<TimelineEntry> = kinds.into_iter().flatten().collect();
        timeline.sort_by_key(|entry| (entry.at, entry.event.rank()));
        Ok(OrderHistory { order: self.view(key).await?, timeline, is_cut })
    }

    async fn notification_entries(&self, key: &OrderKey) -> Result<Vec<TimelineEntry>, StoreError> {
        let lines = self.notifications_of(key).await?;
        Ok(lines.into_iter().map(TimelineEntry::of_notification).collect())
    }

    async fn call_entries(&self, key: &OrderKey) -> Result<Vec<TimelineEntry>, StoreError> {
        let lines = self.calls_of(key.mch_id.as_str(), key.out_trade_no.as_str()).await?;
        Ok(lines.into_iter().map(TimelineEntry::of_call).collect())
    }

    async fn rejection_entries(&self, key: &OrderKey) -> Result<Vec<TimelineEntry>, StoreError> {
        let rows = sqlx::query!(
            r#"/* history_rejections */
            select at, problem as "problem: Json<Problem>" from rejections
            where mch_id = $1 and out_trade_no = $2 order by at desc limit $3"#,
            key.mch_id.as_str(),
            key.out_trade_no.as_str(),
            LINES_MAX,
        )
        .fetch_all(&self.pool)
        .await?;
        let entry = |at, problem| TimelineEntry { at, event: TimelineEvent::Rejected { problem } };
        Ok(rows.into_iter().map(|row| entry(row.at, row.problem.0)).collect())
    }

    async fn transition_entries(&self, key: &OrderKey) -> Result<Vec<TimelineEntry>, StoreError> {
        let rows = sqlx::query!(
            "/* history_transitions */
            select seq, from_state, to_state, fact->>'kind' as fact, source, at, event_id
            from order_transitions where mch_id = $1 and out_trade_no = $2 order by seq",
            key.mch_id.as_str(),
            key.out_trade_no.as_str(),
        )
        .fetch_all(&self.pool)
        .await?;
        let entries = rows.into_iter().map(|row| TimelineEntry {
            at: row.at,
            event: TimelineEvent::Transition {
                seq: row.seq,
                from: row.from_state,
                to: row.to_state,
                fact: row.fact,
                source: row.source,
                event_id: row.event_id,
            },
        });
        Ok(entries.collect())
    }

    async fn exception_entries(&self, key: &OrderKey) -> Result<Vec<TimelineEntry>, StoreError> {
        let lines = self.exceptions_of(key.mch_id.as_str(), key.out_trade_no.as_str()).await?;
        Ok(lines.into_iter().flat_map(TimelineEntry::of_exception).collect())
    }

    /// When the broker confirmed each event for the first time, and since when the others wait.
    async fn event_entries(&self, key: &OrderKey) -> Result<Vec<TimelineEntry>, StoreError> {
        let rows = sqlx::query!(
            r#"/* history_events */
            with events as (
                select event_id, event_body, seq from order_transitions
                where mch_id = $1 and out_trade_no = $2
                union all
                select event_id, event_body, null from exceptions
                where mch_id = $1 and out_trade_no = $2
                union all
                select event_id, event_body, null from rejections
                where mch_id = $1 and out_trade_no = $2
            ), published as (
                select event_id, confirmed_at as at, true as is_confirmed from event_confirms
                where event_id in (select event_id from events)
                union all
                select event_id, created_at, false from outbox
                where event_id in (select event_id from events)
            )
            select published.at as "at!", event_id as "event_id!", seq,
                event_body::jsonb->>'type' as "kind!", is_confirmed as "is_confirmed!"
            from published join events using (event_id)
            order by published.at desc limit $3"#,
            key.mch_id.as_str(),
            key.out_trade_no.as_str(),
            LINES_MAX,
        )
        .fetch_all(&self.pool)
        .await?;
        let entries = rows.into_iter().rev().map(|row| TimelineEntry {
            at: row.at,
            event: TimelineEvent::Event {
                kind: row.kind,
                event_id: row.event_id,
                seq: row.seq,
                is_confirmed: row.is_confirmed,
            },
        });
        Ok(entries.collect())
    }

    async fn action_entries(&self, key: &OrderKey) -> Result<Vec<TimelineEntry>, StoreError> {
        let rows = sqlx::query!(
            "/* history_actions */
            select at, operator, verb, subject, reason from operator_actions
            where split_part(subject, ' ', 1) = $1 order by id desc limit $2",
            key.to_string(),
            LINES_MAX,
        )
        .fetch_all(&self.pool)
        .await?;
        let entries = rows.into_iter().rev().map(|row| TimelineEntry {
            at: row.at,
            event: TimelineEvent::Action {
                operator: row.operator,
                verb: row.verb,
                subject: row.subject,
                reason: row.reason,
            },
        });
        Ok(entries.collect())
    }
}

impl TimelineEntry {
    fn of_notification(line: NotificationSummary) -> Self {
        Self { at: line.received_at, event: TimelineEvent::Notification(line) }
    }

    fn of_call(CallLine { at, api, verdict, detail, duration_ms }: CallLine) -> Self {
        Self { at, event: TimelineEvent::Call { api, verdict, detail, duration_ms } }
    }

    fn of_exception(line: ExceptionLine) -> impl Iterator<Item = Self> {
        let opened = Self {
            at: line.opened_at,
            event: TimelineEvent::ExceptionOpened {
                exception: line.kind.clone(),
                transaction_id: line.transaction_id.clone(),
                differs: line.differs.0,
            },
        };
        let resolved = line.resolved_at.map(|at| Self {
            at,
            event: TimelineEvent::ExceptionResolved {
                exception: line.kind,
                transaction_id: line.transaction_id,
                resolution: line.resolution.unwrap_or_default(),
            },
        });
        std::iter::once(opened).chain(resolved)
    }
}
