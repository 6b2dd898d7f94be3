//! The entries of each kind, as they are stored.

use orders::{OrderKey, Problem};
use sqlx::types::Json;

use super::{CallLine, Entry, Explanation, What};
use crate::store::{ExceptionLine, LINES_MAX, NotificationSummary, Store, StoreError};

impl Store {
    /// Everything that is known of a number, of each kind the newest [`LINES_MAX`].
    ///
    /// # Errors
    /// When the store cannot.
    pub async fn explain(&self, key: &OrderKey) -> Result<Explanation, StoreError> {
        let kinds = [
            self.told_rejections(key).await?,
            self.notifications_of(key).await?.into_iter().map(Entry::of_notification).collect(),
            self.calls_of(key.mch_id.as_str(), key.out_trade_no.as_str())
                .await?
                .into_iter()
                .map(Entry::of_call)
                .collect(),
            self.told_transitions(key).await?,
            self.told_exceptions(key).await?,
            self.told_events(key).await?,
            self.told_actions(key).await?,
        ];
        let is_cut = kinds.iter().any(|entries| entries.len() as i64 >= LINES_MAX);
        let mut entries: Vec<Entry> = kinds.into_iter().flatten().collect();
        entries.sort_by_key(|entry| entry.at);
        Ok(Explanation { order: self.view(key).await?, entries, is_cut })
    }

    /// The calls about a number, the newest [`LINES_MAX`], oldest first.
    ///
    /// # Errors
    /// When the store cannot.
    pub async fn calls_of(
        &self,
        mch_id: &str,
        out_trade_no: &str,
    ) -> Result<Vec<CallLine>, StoreError> {
        let lines = sqlx::query_as!(
            CallLine,
            "/* calls_of_number */
            select at, api, verdict, detail, duration_ms from gateway_calls
            where mch_id = $1 and out_trade_no = $2 order by at desc, id desc limit $3",
            mch_id,
            out_trade_no,
            LINES_MAX,
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(lines.into_iter().rev().collect())
    }

    async fn told_rejections(&self, key: &OrderKey) -> Result<Vec<Entry>, StoreError> {
        let rows = sqlx::query!(
            r#"/* explain_rejections */
            select at, problem as "problem: Json<Problem>" from rejections
            where mch_id = $1 and out_trade_no = $2 order by at desc limit $3"#,
            key.mch_id.as_str(),
            key.out_trade_no.as_str(),
            LINES_MAX,
        )
        .fetch_all(&self.pool)
        .await?;
        let entry = |at, problem| Entry { at, what: What::Rejected { problem } };
        Ok(rows.into_iter().map(|row| entry(row.at, row.problem.0)).collect())
    }

    async fn told_transitions(&self, key: &OrderKey) -> Result<Vec<Entry>, StoreError> {
        let rows = sqlx::query!(
            "/* explain_transitions */
            select seq, from_state, to_state, fact->>'kind' as fact, source, at
            from order_transitions where mch_id = $1 and out_trade_no = $2 order by seq",
            key.mch_id.as_str(),
            key.out_trade_no.as_str(),
        )
        .fetch_all(&self.pool)
        .await?;
        let entries = rows.into_iter().map(|row| Entry {
            at: row.at,
            what: What::Transition {
                seq: row.seq,
                from: row.from_state,
                to: row.to_state,
                fact: row.fact,
                source: row.source,
            },
        });
        Ok(entries.collect())
    }

    async fn told_exceptions(&self, key: &OrderKey) -> Result<Vec<Entry>, StoreError> {
        let lines = self.exceptions_of(key.mch_id.as_str(), key.out_trade_no.as_str()).await?;
        Ok(lines.into_iter().flat_map(Entry::of_exception).collect())
    }

    /// When the broker confirmed each event for the first time, and since when others wait.
    async fn told_events(&self, key: &OrderKey) -> Result<Vec<Entry>, StoreError> {
        let rows = sqlx::query!(
            r#"/* explain_events */
            with events as (
                select event_id, event_body, seq from order_transitions
                where mch_id = $1 and out_trade_no = $2
                union all
                select event_id, event_body, null from exceptions
                where mch_id = $1 and out_trade_no = $2
                union all
                select event_id, event_body, null from rejections
                where mch_id = $1 and out_trade_no = $2
            ), told as (
                select event_id, confirmed_at as at, true as is_confirmed from event_confirms
                where event_id in (select event_id from events)
                union all
                select event_id, created_at, false from outbox
                where event_id in (select event_id from events)
            )
            select told.at as "at!", event_id as "event_id!", seq,
                event_body::jsonb->>'type' as "kind!", is_confirmed as "is_confirmed!"
            from told join events using (event_id)
            order by told.at desc limit $3"#,
            key.mch_id.as_str(),
            key.out_trade_no.as_str(),
            LINES_MAX,
        )
        .fetch_all(&self.pool)
        .await?;
        let entries = rows.into_iter().rev().map(|row| Entry {
            at: row.at,
            what: What::Event {
                kind: row.kind,
                event_id: row.event_id,
                seq: row.seq,
                is_confirmed: row.is_confirmed,
            },
        });
        Ok(entries.collect())
    }

    async fn told_actions(&self, key: &OrderKey) -> Result<Vec<Entry>, StoreError> {
        let rows = sqlx::query!(
            "/* explain_actions */
            select at, operator, verb, subject, reason from operator_actions
            where split_part(subject, ' ', 1) = $1 order by id desc limit $2",
            key.to_string(),
            LINES_MAX,
        )
        .fetch_all(&self.pool)
        .await?;
        let entries = rows.into_iter().rev().map(|row| Entry {
            at: row.at,
            what: What::Action {
                operator: row.operator,
                verb: row.verb,
                subject: row.subject,
                reason: row.reason,
            },
        });
        Ok(entries.collect())
    }
}

impl Entry {
    fn of_notification(line: NotificationSummary) -> Self {
        Self { at: line.received_at, what: What::Notification(line) }
    }

    fn of_call(CallLine { at, api, verdict, detail, duration_ms }: CallLine) -> Self {
        Self { at, what: What::Call { api, verdict, detail, duration_ms } }
    }

    fn of_exception(line: ExceptionLine) -> impl Iterator<Item = Self> {
        let (exception, transaction_id) = (line.kind, line.transaction_id);
        let resolved = line.resolved_at.map(|at| Self {
            at,
            what: What::ExceptionResolved {
                exception: exception.clone(),
                transaction_id: transaction_id.clone(),
                resolution: line.resolution.unwrap_or_default(),
            },
        });
        let differs = line.differs.0;
        let opened = What::ExceptionOpened { exception, transaction_id, differs };
        std::iter::once(Self { at: line.opened_at, what: opened }).chain(resolved)
    }
}
