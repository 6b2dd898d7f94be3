//! Reading an order for people and shops.

use orders::{ExceptionView, OrderKey, OrderView};
use serde::Serialize;
use time::OffsetDateTime;

use super::write::known_exceptions;
use super::{Store, StoreError, Stored, row};

/// An order with its history, for the operator.
#[derive(Clone, Debug, Serialize)]
pub struct Story {
    /// The order as it is.
    pub order: OrderView,
    /// Its transitions, oldest first.
    pub transitions: Vec<TransitionLine>,
    /// The notifications that spoke of it, oldest first.
    pub notifications: Vec<NotificationLine>,
    /// Its events that the broker has not confirmed.
    pub unpublished: i64,
}

/// A transition, without the fact's data: the columns of design 8.
#[derive(Clone, Debug, Serialize)]
pub struct TransitionLine {
    pub seq: i32,
    pub from: Option<String>,
    pub to: String,
    pub fact: Option<String>,
    pub source: String,
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    pub event_id: uuid::Uuid,
}

/// A notification, without its body: the columns of design 8.
#[derive(Clone, Debug, Serialize)]
pub struct NotificationLine {
    pub kind: String,
    pub verdict: String,
    pub detail: Option<String>,
    pub repeats: i32,
    #[serde(with = "time::serde::rfc3339")]
    pub received_at: OffsetDateTime,
}

impl Store {
    /// The order under a number.
    ///
    /// # Errors
    /// When the store cannot.
    pub async fn find(&self, key: &OrderKey) -> Result<Option<Stored>, StoreError> {
        row::find(&mut *self.pool.acquire().await?, key).await
    }

    /// The view of an order, without the second signing.
    ///
    /// # Errors
    /// When the store cannot.
    pub async fn view(&self, key: &OrderKey) -> Result<Option<OrderView>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let Some(stored) = row::find(&mut connection, key).await? else {
            return Ok(None);
        };
        let keys = std::slice::from_ref(key);
        let known = known_exceptions(&mut connection, keys).await?.remove(key).unwrap_or_default();
        let open = known.iter().filter(|known| known.open);
        let open = open.map(|known| ExceptionView { kind: known.kind, opened_at: known.opened_at });
        Ok(Some(OrderView::of(&stored.order, open.collect(), None)))
    }

    /// An order with its history.
    ///
    /// # Errors
    /// When the store cannot.
    pub async fn story(&self, key: &OrderKey) -> Result<Option<Story>, StoreError> {
        let Some(order) = self.view(key).await? else {
            return Ok(None);
        };
        let (mch_id, number) = (key.mch_id.as_str(), key.out_trade_no.as_str());
        let transitions = sqlx::query_as!(
            TransitionLine,
            r#"/* story_transitions */
            select seq, from_state as "from", to_state as "to", fact->>'kind' as fact, source, at,
                event_id
            from order_transitions where mch_id = $1 and out_trade_no = $2 order by seq"#,
            mch_id,
            number,
        )
        .fetch_all(&self.pool)
        .await?;
        let notifications = sqlx::query_as!(
            NotificationLine,
            "/* story_notifications */
            select kind, verdict, detail, repeats, received_at from notifications
            where mch_id = $1 and out_trade_no = $2 order by received_at limit 100",
            mch_id,
            number,
        )
        .fetch_all(&self.pool)
        .await?;
        let unpublished = sqlx::query_scalar!(
            r#"/* story_unpublished */
            select count(*) as "count!" from outbox where mch_id = $1 and out_trade_no = $2"#,
            mch_id,
            number,
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(Some(Story { order, transitions, notifications, unpublished }))
    }
}
